/**
 * A lock that was granted. It belongs to this handle: whoever has it may release it.
 *
 * ```ts
 * await using lock = await locks.acquire('order:42');
 * ```
 */
export abstract class Lock {
  /** The keys in the order in which they were asked for, each once. */
  abstract readonly keys: readonly string[];
  /** Names this grant and tells host and process; unique. */
  abstract readonly owner: string;
  /** Greater than that of every earlier grant of these keys: a resource that refuses smaller ones is safe even from a holder that was frozen. */
  abstract readonly fencingToken: number;
  /** Replicas that confirmed the grant; 0 in memory and on a server without replicas. */
  abstract readonly confirmedBy: number;
  /** When the grant was asked for, by this host's clock. */
  abstract readonly acquiredAt: Date;
  /** ms that the lock lives after its last renewal. */
  abstract readonly leaseTime: number;
  /** ms for which the lock is certainly held; 0 once it is lost or released. */
  abstract readonly remainingTime: number;
  /** Aborts with a `LockLostError` when the lock is lost; never by its release. */
  abstract readonly signal: AbortSignal;

  /** The first of the keys. */
  get key(): string {
    return this.keys[0]!;
  }

  /** Whether the lock is certainly held now, by the clocks; a frozen process sees the truth as soon as it runs on. */
  get held(): boolean {
    return this.remainingTime > 0;
  }

  /** Throws `LockLostError` unless the lock is held: for the line before the write. */
  abstract assertHeld(): void;

  /**
   * Renews now, for `leaseTime` from now (default: the lock's own), which then is the lock's lease. Throws `LockLostError` where the lock is not held any more.
   */
  abstract extend(leaseTime?: number | string): Promise<void>;

  /**
   * Gives the lock back; false if a key was gone or in other hands before, or if this handle joined a lock of its context. Answers within
   * `replicaTimeout` + 1 s. Throws `LockUnavailableError` if Redis did not answer or refused: it is told again until the lease has passed.
   */
  abstract release(): Promise<boolean>;

  /** Releases at the end of an `await using` block; a release that Redis did not answer goes on in the background. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch(() => false);
  }
}

/** A lock that work joined because its asynchronous context holds it: everything is the outer lock's, but its release. */
export class JoinedLock extends Lock {
  constructor(private readonly outer: Lock) {
    super();
  }

  get keys(): readonly string[] {
    return this.outer.keys;
  }

  get owner(): string {
    return this.outer.owner;
  }

  get fencingToken(): number {
    return this.outer.fencingToken;
  }

  get confirmedBy(): number {
    return this.outer.confirmedBy;
  }

  get acquiredAt(): Date {
    return this.outer.acquiredAt;
  }

  get leaseTime(): number {
    return this.outer.leaseTime;
  }

  get remainingTime(): number {
    return this.outer.remainingTime;
  }

  get signal(): AbortSignal {
    return this.outer.signal;
  }

  assertHeld(): void {
    this.outer.assertHeld();
  }

  extend(leaseTime?: number | string): Promise<void> {
    return this.outer.extend(leaseTime);
  }

  release(): Promise<boolean> {
    return Promise.resolve(false);
  }
}
