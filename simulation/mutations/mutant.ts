/** One broken rule of the protocol. */
export interface Mutant {
  readonly name: string;
  /** For each file: code that occurs there once, and the replacement. */
  readonly changes: Readonly<Record<string, readonly (readonly [sound: string, broken: string])[]>>;
  /** Words of the names of the faults that reveal the mutant. Undefined: all faults. */
  readonly faults?: string;
  /** The test that notices the mutant if the simulation cannot. */
  readonly caughtBy?: string;
}
