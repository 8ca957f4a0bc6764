import type { Clock } from '../common/clock.js';
import type { InspectOutcome, KeptResult, LockStore } from '../store/lock-store.js';
import type { Acquisitions } from './acquisitions.js';
import { runUnder } from './entered-lock.js';
import { lockOf } from './error-texts.js';
import { answered, LockKeyError } from './errors.js';
import type { HeldLock } from './held-lock.js';
import type { Listeners } from './listeners.js';
import type { LockContext } from './lock-context.js';
import type { Lock } from './lock.js';
import { resultOf, resultText, type OnceResult } from './once-result.js';
import type { ResolvedOptions } from './options.js';

type Work<T> = (lock: Lock) => T | Promise<T>;

/**
 * Work that runs once for all copies of an application, and whose result its key keeps.
 *
 * The lock keeps two copies from running the work at a time. At its release the result takes the
 * place of the lock in one write, so no copy finds the key free in between. A copy that finds a
 * result needs no lock. The result protects nothing: it is read without a confirmation.
 */
export class RunOnce {
  /** The reads that are not answered. Thousands of waiters hear of a result in one instant. */
  private readonly reads = new Map<string, Promise<InspectOutcome>>();

  constructor(
    private readonly store: LockStore,
    private readonly clock: Clock,
    private readonly context: LockContext,
    private readonly listeners: Listeners,
    private readonly acquisitions: Acquisitions,
  ) {}

  async run<T>(
    key: string,
    keepFor: number,
    options: ResolvedOptions,
    work: Work<T>,
  ): Promise<OnceResult<T>> {
    if (typeof work !== 'function') throw new TypeError('once needs the work to do: a function');
    options.signal?.throwIfAborted();
    if (this.context.find(key) !== undefined) throw insideItself(key);
    const askedAt = this.clock.monotonic();
    // If Redis cannot be asked now, the acquisition waits for it.
    const first = await this.read(key);
    if (first.kind === 'kept') return this.kept<T>(key, first, options, askedAt);
    for (;;) {
      const lock = await this.acquisitions.takeUnlessKept(key, this.remaining(options, askedAt));
      if (lock !== undefined) return { result: await this.runUnder(lock, keepFor, options, work), ran: true };
      const found = answered([key], await this.read(key), 'inspected');
      if (found.kind === 'kept') return this.kept<T>(key, found, options, askedAt);
      // The result has ended or was removed since the key was found to keep it.
    }
  }

  private async runUnder<T>(
    lock: HeldLock,
    keepFor: number,
    { label }: ResolvedOptions,
    work: Work<T>,
  ): Promise<T> {
    const { key, keys, owner, fencingToken } = lock;
    let ended: Promise<void> | undefined;
    const text = await runUnder(lock, this.context, async () => {
      const kept = resultText(key, await work(lock));
      lock.assertHeld();
      ended = lock.keepAtRelease(kept, keepFor);
      return kept;
    });
    // Other work that joined the lock may still run under it.
    await ended;
    if (lock.loss !== undefined) throw lock.loss;
    // Redis tells the other processes of the write, and not the connection that wrote.
    this.acquisitions.changed({ key });
    if (this.listeners.isHeard)
      this.listeners.emit({ type: 'ran', keys, label, owner, fencingToken, keepFor });
    return resultOf(text) as T;
  }

  private kept<T>(
    key: string,
    { holder: { owner }, result }: KeptResult,
    { label }: ResolvedOptions,
    askedAt: number,
  ): OnceResult<T> {
    const waited = this.clock.monotonic() - askedAt;
    if (this.listeners.isHeard) this.listeners.emit({ type: 'kept', keys: [key], label, owner, waited });
    return { result: resultOf(result) as T, ran: false };
  }

  private read(key: string): Promise<InspectOutcome> {
    const open = this.reads.get(key);
    if (open !== undefined) return open;
    const read = this.store.inspect(key).finally(() => this.reads.delete(key));
    this.reads.set(key, read);
    return read;
  }

  /** The options with the part of `waitTime` that is left. */
  private remaining(options: ResolvedOptions, askedAt: number): ResolvedOptions {
    const waited = this.clock.monotonic() - askedAt;
    return { ...options, waitTime: Math.max(0, options.waitTime - waited) };
  }
}

function insideItself(key: string): LockKeyError {
  return new LockKeyError(
    [key],
    `${lockOf([key])} is held by this context, so once cannot run under it: the result would take the place of the outer lock. ` +
      'Call once outside of that lock, or with another key.',
  );
}
