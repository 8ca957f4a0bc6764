import { spawn } from 'node:child_process';

/** Reads pids; when the pipe breaks, kills those that are left and removes the folder. */
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

/** Whatever it is told of ends with this process, even where that is killed and can run no hook: a shell beside us sees to it. */
export class Guard {
  private readonly shell;

  constructor(folder: string) {
    // Detached: Ctrl-C and a closed terminal reach the whole foreground group, and the guard must outlive it.
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

  /** It has ended: its pid may be somebody else's soon. */
  forget(pid: number): void {
    this.shell.stdin.write(`- ${pid}\n`);
  }
}
