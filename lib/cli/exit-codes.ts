/** What the exit code of the command says. docs/command-line.md lists them. */
export const EXIT = {
  fine: 0,
  /** The key is free, nothing was released, or the doctor found a problem. */
  no: 1,
  /** The command line is wrong. */
  usage: 2,
  /** Redis cannot be asked, or the output cannot be written. */
  unavailable: 3,
  /** The doctor found warnings and no problem. */
  warning: 4,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];
