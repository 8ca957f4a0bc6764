#!/usr/bin/env bash
# Packs the package and checks the result as package managers and compilers will.
set -euo pipefail
cd "$(dirname "$0")/.."
# `prepack` builds dist.
rm -rf dist
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm pack --silent --pack-destination "$folder" >/dev/null
for file in dist/index.js dist/cli/bin.js dist/board/page/{index.html,app.js,board.js,board.css,icon.svg} docs/errors.md docs/bench/README.md SECURITY.md; do
  tar -tzf "$folder"/*.tgz | grep -x "package/$file" >/dev/null || { echo "$file is missing in the package" >&2; exit 1; }
done
# A relative link of the README must also work in node_modules.
tar -xzf "$folder"/*.tgz -C "$folder"
node scripts/dead-links.mjs "$folder/package"
npx publint --strict "$folder"/*.tgz
npx attw --profile esm-only "$folder"/*.tgz
# The command runs from the package, as npx starts it.
ln -s "$PWD/node_modules" "$folder/package/node_modules"
node "$folder/package/dist/cli/bin.js" --version | grep -Fqx "$(node -p 'require("./package.json").version')" ||
  { echo 'The command of the package does not run' >&2; exit 1; }
npm publish --dry-run --silent --ignore-scripts --tag dry-run "$folder"/*.tgz
