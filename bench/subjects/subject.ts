/** Something that takes locks, and is measured. */
export interface Subject {
  readonly name: string;
  readonly kind: 'ours' | 'peer' | 'floor';
  /** Whether a lock counts only once replicas confirmed it. */
  readonly confirmed: boolean;
  /** Waits for a key that somebody else holds; floors do not. */
  readonly waits: boolean;
  connect(server: Server): Promise<Locker>;
}

/** Where the master listens. */
export interface Server {
  readonly host: string;
  readonly port: number;
}

/** One client of one process: its connections, and whatever the library keeps beside them. */
export interface Locker {
  /** Takes the lock, for as long as it takes where the subject waits; runs `work`, gives the lock back. */
  hold(key: string, work: () => void | Promise<void>): Promise<void>;
  /** Takes the lock and resolves; calls `onLost` when the library says that it was lost. Absent where it never does. */
  holdUntilLost?(key: string, leaseTime: number, onLost: () => void): Promise<void>;
  close(): Promise<void>;
}

/** ms: nobody's lease may end while it is measured. */
export const LEASE = 20_000;
/** Tries or ms that come to "for ever". */
export const FOR_EVER = 2_000_000_000;

export function urlOf({ host, port }: Server): string {
  return `redis://${host}:${port}`;
}
