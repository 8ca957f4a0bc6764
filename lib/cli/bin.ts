#!/usr/bin/env node
import { Output } from './output.js';
import { run } from './run.js';

const { stdout, stderr, env } = process;
const hasColours = stdout.isTTY && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
process.exitCode = await run(process.argv.slice(2), env, new Output(stdout, stderr, hasColours));
