/** A caller that waits with a signal. */
export interface Cancellable {
  cancel(reason: unknown): void;
}

interface Listening {
  readonly waiters: Set<Cancellable>;
  readonly onAbort: () => void;
}

/**
 * Listens once to each signal, for all callers that share the signal. Node warns of more than ten
 * listeners on a signal, and looks for each listener that comes or goes among all others. A signal
 * without a waiter has no listener of ours.
 */
export class AbortSignals {
  private readonly listening = new WeakMap<AbortSignal, Listening>();

  add(signal: AbortSignal, waiter: Cancellable): void {
    let listening = this.listening.get(signal);
    if (listening === undefined) {
      const waiters = new Set<Cancellable>();
      // From the last to the first, so that no caller gets a turn in the queue only to be
      // cancelled.
      const onAbort = (): void => {
        for (const each of [...waiters].toReversed()) each.cancel(signal.reason);
      };
      listening = { waiters, onAbort };
      this.listening.set(signal, listening);
      signal.addEventListener('abort', onAbort, { once: true });
    }
    listening.waiters.add(waiter);
  }

  delete(signal: AbortSignal, waiter: Cancellable): void {
    const listening = this.listening.get(signal);
    if (listening === undefined) return;
    listening.waiters.delete(waiter);
    if (listening.waiters.size > 0) return;
    this.listening.delete(signal);
    signal.removeEventListener('abort', listening.onAbort);
  }
}
