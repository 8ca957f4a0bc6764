import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Guarded processes die with this process, however this process ends. Exit hooks do not run after a
 * SIGKILL, nor in jest's sandbox. So a shell beside this process reads pids from a pipe. When the
 * pipe breaks, the shell kills the remaining processes and removes the folder.
 */
const WATCH = `
alive=' '
while read -r sign pid; do
  case $sign in
    +) alive="$alive$pid " ;;
    -) alive="\${alive%% $pid *} \${alive#* $pid }" ;;
  esac
done
for pid in $alive; do kill -KILL "$pid"; done
rm -rf "$1"
`;

let guard: { folder: string; tell(line: string): void } | undefined;

function guarding(): NonNullable<typeof guard> {
  if (guard) return guard;
  const folder = mkdtempSync(join(tmpdir(), 'replica-lock-'));
  // Detached: Ctrl-C ends the whole foreground group, and the guard must outlive the group.
  const shell = spawn('sh', ['-c', WATCH, 'guard', folder], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  shell.unref();
  (shell.stdin as unknown as { unref(): void }).unref();
  shell.stdin.on('error', () => {});
  guard = { folder, tell: (line) => void shell.stdin.write(`${line}\n`) };
  return guard;
}

/** A new folder that is removed when this process ends. */
export function guardedFolder(name: string): string {
  return mkdtempSync(join(guarding().folder, `${name}-`));
}

/** Kill this process when the current process ends. */
export function guardProcess(pid: number): void {
  guarding().tell(`+ ${pid}`);
}

/** The process has ended: another process may soon have the same pid. */
export function unguardProcess(pid: number): void {
  guarding().tell(`- ${pid}`);
}
