/** A library, or bare commands, whose locks are measured. */
export interface Subject {
  readonly name: string;
  readonly kind: 'ours' | 'peer' | 'floor';
  /** Whether a lock counts only once replicas confirmed it. */
  readonly confirmed: boolean;
  /** Whether the subject waits for a busy key. Floors do not. */
  readonly waits: boolean;
  connect(server: Server): Promise<Locker>;
}

/** The address of the master. */
export interface Server {
  readonly host: string;
  readonly port: number;
}

/** One client of one process: the connections and the state of the library. */
export interface Locker {
  /** Acquires the lock, without a time limit if the subject waits. Runs `work` and releases. */
  hold(key: string, work: () => void | Promise<void>): Promise<void>;
  /** Acquires the lock. Resolves with the function that releases. Absent if no workload needs it. */
  acquire?(key: string): Promise<() => Promise<unknown>>;
  /**
   * Acquires the lock and resolves. Calls `onLost` when the library reports the loss. Absent if the
   * library never reports a loss.
   */
  holdUntilLost?(key: string, leaseTime: number, onLost: () => void): Promise<void>;
  /**
   * Closes the connections that only the last turn needed, so that they cost the next subject nothing
   * in the master. Absent if the number of connections does not depend on the number of callers.
   */
  rest?(): void;
  close(): Promise<void>;
}

/** ms: no lease may end during a measurement. */
export const LEASE = 20_000;
/** Tries or ms that are practically unlimited. */
export const FOR_EVER = 2_000_000_000;

export function urlOf({ host, port }: Server): string {
  return `redis://${host}:${port}`;
}
