/**
 * A lock that was granted. Any code that has this object may release the lock.
 *
 * ```ts
 * await using lock = await locks.acquire('order:42');
 * ```
 */
export abstract class Lock {
  /** The keys in the order in which they were asked for, each once. */
  abstract readonly keys: readonly string[];
  /** The unique name of this grant, with the host and the process. */
  abstract readonly owner: string;
  /**
   * Greater than the token of every earlier grant of these keys. With the limit 1, a resource that
   * refuses smaller tokens is safe even from a holder that was frozen, see
   * [fencing](https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html). With a
   * larger limit, callers with different tokens hold the key at once: see docs/fencing.md.
   */
  abstract readonly fencingToken: number;
  /**
   * The number of replicas that confirmed the grant. 0 in memory and on a server without replicas.
   */
  abstract readonly confirmedBy: number;
  /**
   * How many callers may hold the keys while this lock does, itself included: the option `limit`.
   */
  abstract readonly limit: number;
  /** The time at which the grant was asked for, by this host's clock. */
  abstract readonly acquiredAt: Date;
  /** ms that the lock lives after a renewal. */
  abstract readonly leaseTime: number;
  /** ms for which the lock is certainly held. 0 after a loss or release. */
  abstract readonly remainingTime: number;
  /** Aborts with a `LockLostError` when the lock is lost. A release does not abort the signal. */
  abstract readonly signal: AbortSignal;

  /** The first of the keys. */
  get key(): string {
    return this.keys[0]!;
  }

  /**
   * True if the lock is certainly held now, by the clocks. Correct even right after the process was
   * frozen.
   */
  get held(): boolean {
    return this.remainingTime > 0;
  }

  /**
   * For the line before a write.
   *
   * @throws `LockLostError` if the lock is not held.
   */
  abstract assertHeld(): void;

  /**
   * Renews now. The lock then lives for `leaseTime` from now, and keeps this lease.
   *
   * @param leaseTime ms or a string such as `'30s'`. Default: the lock's lease.
   *
   * @throws `LockLostError` if the lock is not held any more.
   * @throws `LockOptionsError` if the lease is not accepted, or longer than the module's
   *   `quarantine`.
   */
  abstract extend(leaseTime?: number | string): Promise<void>;

  /**
   * Gives the lock back. Resolves with false if a key was gone or in other hands before, or if this
   * handle joined a lock of its context. Settles within `replicaTimeout` + 1 s.
   *
   * @throws `LockUnavailableError` if Redis did not answer or refused. The release is then repeated
   *   in the background until the lease has passed.
   */
  abstract release(): Promise<boolean>;

  /**
   * Releases at the end of an `await using` block. A release without an answer continues in the
   * background.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch(() => false);
  }
}

/**
 * A lock that work joined because the asynchronous context holds the lock. Everything except the
 * release belongs to the outer lock.
 */
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

  get limit(): number {
    return this.outer.limit;
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
