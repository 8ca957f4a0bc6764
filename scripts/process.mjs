// Runs other programs, in front of the user or for their output.

import { spawn, spawnSync } from 'node:child_process';
import { constants } from 'node:os';

/**
 * Runs a program in this terminal. Rejects unless the program ends with 0.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} [options]
 */
export async function run(command, args, options = {}) {
  const code = await exitCodeOf(command, args, options);
  if (code !== 0) throw new Error(`'${[command, ...args].join(' ')}' ended with ${code}`);
}

/**
 * Runs a program in this terminal and resolves to its exit code. Ctrl-C reaches both processes,
 * since they share the terminal, so this process only waits for the other's end. SIGTERM may reach
 * this process alone, and so may SIGHUP if no terminal sends it: both signals are passed on.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} [options]
 * @returns {Promise<number>}
 */
export function exitCodeOf(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    // Node starts a .cmd file only with a shell.
    const child = spawn(command, args, { stdio: 'inherit', shell: command.endsWith('.cmd'), ...options });
    const wait = () => {};
    const passOn = () => child.kill('SIGTERM');
    process.on('SIGINT', wait).on('SIGTERM', passOn).on('SIGHUP', passOn);
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      process.off('SIGINT', wait).off('SIGTERM', passOn).off('SIGHUP', passOn);
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0));
    });
  });
}

/**
 * The output of a program; undefined if the program cannot be started or fails.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ env?: NodeJS.ProcessEnv }} [options]
 * @returns {string | undefined}
 */
export function outputOf(command, args, options = {}) {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', ...options });
  return status === 0 ? stdout : undefined;
}
