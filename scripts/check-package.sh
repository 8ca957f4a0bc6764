#!/usr/bin/env bash
# What users would install: packed, and looked at as package managers and compilers will.
set -euo pipefail
cd "$(dirname "$0")/.."
npm run build --silent
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm pack --silent --pack-destination "$folder" >/dev/null
npx publint --strict "$folder"/*.tgz
npx attw --profile esm-only "$folder"/*.tgz
