import type { Clock } from '../common/clock.js';
import { Deadlines } from '../common/deadlines.js';
import { IntrusiveSet } from '../common/intrusive-set.js';
import type { KeyChange, LockStore } from '../store/lock-store.js';
import { AbortSignals } from './abort-signals.js';
import type { AcquisitionHost } from './acquisition-host.js';
import { Acquisition } from './acquisition.js';
import { LockServiceClosedError } from './errors.js';
import { acquiredEvent } from './events.js';
import { HeldLock, type Grant, type HeldLockHost } from './held-lock.js';
import type { HeldLocks } from './held-locks.js';
import type { Listeners } from './listeners.js';
import type { LockContext } from './lock-context.js';
import type { ResolvedOptions } from './options.js';
import { Owners } from './owners.js';
import { Renewals } from './renewals.js';
import { WaitQueues } from './wait-queues.js';

/** Receives the function that ends a caller's waiting with this reason. */
export type OnWaiting = (cancel: (reason: unknown) => void) => void;

/**
 * `draining`: only requests from inside a held lock are granted. `closed`: no request is granted.
 */
type State = 'open' | 'draining' | 'closed';

/** The callers of one process that wait for a key. */
export interface WaitingCallers {
  readonly key: string;
  readonly callers: number;
  /** ms since the first of them asked. */
  readonly longestWait: number;
}

/** The callers of one service that are on the way to a lock, and what they share. */
export class Acquisitions {
  private state: State = 'open';
  private readonly queues: WaitQueues;
  private readonly waiting = new IntrusiveSet<'index', Acquisition>('index');
  private readonly host: HeldLockHost & AcquisitionHost;

  constructor(
    store: LockStore,
    clock: Clock,
    private readonly context: LockContext,
    private readonly listeners: Listeners,
    private readonly locks: HeldLocks,
  ) {
    const deadlines = new Deadlines(clock);
    this.queues = new WaitQueues(clock, deadlines);
    this.host = {
      store,
      clock,
      deadlines,
      waitQueues: this.queues,
      owners: new Owners(),
      signals: new AbortSignals(),
      renewals: new Renewals(clock),
      isHeard: () => listeners.isHeard,
      emit: (event) => listeners.emit(event),
      granted: (acquisition, owner, grant) => this.hold(acquisition, owner, grant),
      left: (acquisition) => this.waiting.delete(acquisition),
      ended: (lock) => locks.delete(lock),
    };
  }

  get isClosed(): boolean {
    return this.state === 'closed';
  }

  /** Takes the lock. `onWaiting` receives the function that ends the waiting. */
  take(keys: readonly string[], options: ResolvedOptions, onWaiting?: OnWaiting): Promise<HeldLock> {
    return this.start(keys, options, false, onWaiting) as Promise<HeldLock>;
  }

  /** Takes the lock. Resolves to undefined as soon as the key is found to keep a result. */
  takeUnlessKept(
    key: string,
    options: ResolvedOptions,
    onWaiting?: (cancel: (reason: unknown) => void) => void,
  ): Promise<HeldLock | undefined> {
    return this.start([key], options, true, onWaiting);
  }

  /** The callers that wait, by key, the longest wait first. A caller counts for each of its keys. */
  waitingByKey(): readonly WaitingCallers[] {
    const now = this.host.clock.monotonic();
    const byKey = new Map<string, { key: string; callers: number; longestWait: number }>();
    for (const { keys, askedAt } of this.waiting) {
      for (const key of keys) {
        const entry = byKey.get(key) ?? { key, callers: 0, longestWait: 0 };
        entry.callers++;
        entry.longestWait = Math.max(entry.longestWait, now - askedAt);
        byKey.set(key, entry);
      }
    }
    return [...byKey.values()].toSorted((a, b) => b.longestWait - a.longestWait);
  }

  /** Passes on what the store heard. */
  changed(change: KeyChange): void {
    this.queues.changed(change);
  }

  /** Rejects all waiting callers apart from requests inside a held lock, and grants nothing new. */
  drain(): void {
    if (this.state === 'open') this.state = 'draining';
    this.reject(({ isNested }) => !isNested);
  }

  /** Rejects all callers, now and later. */
  close(): void {
    this.state = 'closed';
    this.reject(() => true);
  }

  /** The locks that are left are not renewed any more. */
  stopRenewing(): void {
    this.host.renewals.close();
  }

  private start(
    keys: readonly string[],
    options: ResolvedOptions,
    endsIfKept: boolean,
    onWaiting?: OnWaiting,
  ): Promise<HeldLock | undefined> {
    const isNested = this.context.find() !== undefined;
    if (this.state === 'closed' || (this.state === 'draining' && !isNested))
      return Promise.reject(new LockServiceClosedError(keys));
    const own = isNested ? keys.map((key) => this.context.find(key)).find((lock) => lock) : undefined;
    if (own !== undefined) this.context.refuseStricter(keys, options.limit);
    const onEnd = this.listeners.asked(keys, options.label);
    const { host } = this;
    const taking = new Promise<HeldLock | undefined>((resolve, reject) => {
      const onKept = endsIfKept ? (): void => resolve(undefined) : undefined;
      const ownOwner = own?.owner;
      const acquisition = new Acquisition(keys, options, isNested, ownOwner, host, resolve, reject, onKept);
      this.waiting.add(acquisition);
      onWaiting?.((reason) => acquisition.cancel(reason));
      acquisition.start();
    });
    if (onEnd !== undefined)
      taking.then(
        (lock) => onEnd(lock === undefined ? { kind: 'kept' } : { kind: 'acquired', lock }),
        (error: unknown) => onEnd({ kind: 'refused', error, waitTime: options.waitTime }),
      );
    return taking;
  }

  private reject(isMeant: (acquisition: Acquisition) => boolean): void {
    // From the last to the first, so that no caller gets its turn only to be cancelled.
    for (const acquisition of [...this.waiting].toReversed())
      if (isMeant(acquisition)) acquisition.cancel(new LockServiceClosedError(acquisition.keys));
  }

  private hold({ keys, options, askedAt }: Acquisition, owner: string, grant: Grant): HeldLock {
    const lock = new HeldLock(keys, owner, grant, options, this.host);
    this.locks.add(lock);
    if (this.listeners.isHeard)
      this.listeners.emit(acquiredEvent(lock, options.label, askedAt, grant.validity.startedAt));
    return lock;
  }
}
