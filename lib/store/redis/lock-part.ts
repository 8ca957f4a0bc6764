/** The keys of a lock that one master serves: all of them, or in a Cluster those of one slot. */
export interface LockPart {
  /** As the user named them. */
  readonly names: readonly string[];
  /** As Redis knows them, in the same order. */
  readonly keys: readonly string[];
  /** The hash slot of all keys; undefined without a Cluster. */
  readonly slot: number | undefined;
}
