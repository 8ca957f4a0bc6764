import { setMaxListeners } from 'node:events';
import { enterTaken, leave, runEntered, type EnteredLock } from './entered-lock.js';
import type { HeldLock } from './held-lock.js';
import type { LockContext } from './lock-context.js';
import { JoinedLock, type Lock } from './lock.js';

/** The terms by their locks: work finds the term that it runs in by its asynchronous context. */
const terms = new WeakMap<HeldLock, Term>();

/**
 * One leadership of this process: a held lock, and the work that runs under the lock. The lock is
 * released only after the work has ended, so no two leaders ever act.
 */
export class Term {
  readonly lock: HeldLock;
  /** Resolves once the lock is lost, or given back by whatever code. */
  readonly ended: Promise<void>;
  private isResigning = false;
  /** Aborts at a resignation and at the end of the lock, whatever ends it. */
  private readonly ending = new AbortController();
  private readonly works = new Set<Promise<void>>();

  constructor(
    lock: HeldLock,
    private readonly context: LockContext,
  ) {
    this.lock = lock;
    terms.set(lock, this);
    // Counts as work, so that no other work that ends releases the lock.
    lock.enter();
    this.ended = new Promise((resolve) => {
      lock.onEnd = () => {
        this.ending.abort(lock.loss ?? this.resignation());
        resolve();
      };
      if (lock.hasEnded) lock.onEnd();
    });
    // The signal may be given to dozens of requests.
    setMaxListeners(Infinity, this.ending.signal);
  }

  /** The term for this key that the caller is work of; undefined outside such work. */
  static around(context: LockContext, key: string): Term | undefined {
    const lock = context.find(key);
    return lock && terms.get(lock);
  }

  /** True if new work may begin: the lock is held, and this process does not resign. */
  get isOpen(): boolean {
    return !this.isResigning && this.lock.held;
  }

  /** The lock for work that lasts as long as the term. The signal aborts at a resignation, too. */
  get longLived(): Lock {
    return new TermLock(this.lock, this.ending.signal);
  }

  /** True if the caller is work of this term. */
  get isInside(): boolean {
    return Term.around(this.context, this.lock.key) === this;
  }

  /** Puts work under the lock. A resignation waits until the work calls `finish`. */
  enter(): EnteredLock {
    const entered = enterTaken(this.lock, this.context);
    let end!: () => void;
    const work = new Promise<void>((resolve) => (end = resolve));
    this.works.add(work);
    return {
      ...entered,
      finish: async (failure) => {
        try {
          await entered.finish(failure);
        } finally {
          this.works.delete(work);
          end();
        }
      },
    };
  }

  /** Runs `work` under the lock. Rejects with `LockLostError` if the lock is lost meanwhile. */
  run<T>(work: () => T | Promise<T>): Promise<T> {
    return runEntered(this.enter(), work);
  }

  /**
   * Begins no new work, aborts the signal of long-lived work, waits for all work, and releases the
   * lock. Resolves once the lock has ended.
   */
  async resign(): Promise<void> {
    if (!this.isResigning) {
      this.isResigning = true;
      this.ending.abort(this.resignation());
      while (this.works.size > 0 && !this.lock.hasEnded)
        await Promise.race([Promise.all(this.works), this.ended]);
      // A loss is told by the lock's signal.
      await leave(this.lock, undefined).catch(() => {});
    }
    await this.ended;
  }

  private resignation(): DOMException {
    return new DOMException(
      `This process resigns from '${this.lock.key}': end the work of the term.`,
      'AbortError',
    );
  }
}

/** The lock of a term for long-lived work, which must also end if this process resigns. */
class TermLock extends JoinedLock {
  constructor(
    outer: Lock,
    private readonly endSignal: AbortSignal,
  ) {
    super(outer);
  }

  override get signal(): AbortSignal {
    return this.endSignal;
  }
}
