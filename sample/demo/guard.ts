import { spawn } from 'node:child_process';

/** Reads pids. When the pipe breaks, kills the remaining processes and removes the folder. */
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

/**
 * Ends watched processes together with this process, even if this process is killed and can run no
 * hook. A shell beside this process does that.
 */
export class Guard {
  private readonly shell;

  constructor(folder: string) {
    // Detached: Ctrl-C and a closed terminal reach the whole foreground group, and the guard must
    // outlive that group.
    this.shell = spawn('sh', ['-c', WATCH, 'guard', folder], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.shell.unref();
    this.shell.stdin.on('error', () => {});
  }

  watch(pid: number): void {
    this.shell.stdin.write(`+ ${pid}\n`);
  }

  /** The process has ended: the system may soon give its pid to another process. */
  forget(pid: number): void {
    this.shell.stdin.write(`- ${pid}\n`);
  }
}
