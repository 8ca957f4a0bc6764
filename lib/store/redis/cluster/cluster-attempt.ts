import type { Clock } from '../../../common/clock.js';
import type { AcquireOutcome, AcquireRequest, Unavailable } from '../../lock-store.js';
import type { MasterAttempt } from '../master/master.js';
import { ABANDONED, type Routing } from './routing.js';
import type { SlotPart } from './keys-by-slot.js';

type Granted = Extract<AcquireOutcome, { kind: 'granted' }>;

/**
 * One attempt to take keys that may lie in several slots: all or none.
 *
 * The parts are taken one after the other in the order of their slots. If a part is not granted,
 * the earlier parts are given back. The lock's token is the token of the last part, because each
 * part is asked for with the greatest token so far as the floor. Parts with a smaller token are
 * raised to that token before the lock counts as granted. The lock is valid until the first part
 * ends.
 */
export class ClusterAttempt {
  readonly outcome: Promise<AcquireOutcome>;
  private readonly taken = new Map<SlotPart, Granted>();
  private current: MasterAttempt | undefined;
  private isAbandoned = false;

  constructor(
    private readonly request: AcquireRequest,
    private readonly parts: readonly SlotPart[],
    private readonly routing: Routing,
    private readonly clock: Clock,
  ) {
    this.outcome = this.takeAll();
  }

  /**
   * Ends this attempt. The `Master` takes back what an open `MasterAttempt` wrote, even if no answer
   * comes. Granted parts are given back here.
   */
  abandon(): void {
    this.isAbandoned = true;
    this.current?.abandon();
    void this.giveBack(ABANDONED);
  }

  private take(part: SlotPart, request: AcquireRequest, floor: number): Promise<AcquireOutcome> {
    return this.routing.acquire(
      request,
      part,
      floor,
      (attempt) => (this.current = attempt),
      () => this.isAbandoned,
    );
  }

  private async takeAll(): Promise<AcquireOutcome> {
    const { taken } = this;
    const endsAt = Math.max(this.request.waitUntil, this.clock.monotonic()) + this.request.replicaTimeout;
    let token = 0;
    for (const part of this.parts) {
      const outcome = await this.takeWithin(part, taken.size === 0, endsAt, token);
      if (outcome.kind === 'granted') {
        token = outcome.token;
        taken.set(part, outcome);
      }
      if (outcome.kind !== 'granted' || this.isAbandoned) return this.giveBack(outcome);
    }
    for (const [part, granted] of taken) {
      if (granted.token === token) continue;
      const raised = await this.takeWithin(part, false, endsAt, token);
      if (raised.kind !== 'granted' || this.isAbandoned) return this.giveBack(raised);
      // The part had ended, and was taken anew with a greater token.
      if (raised.token !== token) return this.giveBack(PART_EXPIRED);
      taken.set(part, raised);
    }
    const validity = [...taken.values()]
      .map((granted) => granted.validity)
      .reduce((one, other) => (one.remaining(this.clock) <= other.remaining(this.clock) ? one : other));
    if (validity.remaining(this.clock) <= 0) return this.giveBack(PART_EXPIRED);
    const confirmedBy = [...taken.values()].reduce(
      (least, granted) => Math.min(least, granted.confirmedBy),
      Infinity,
    );
    return { kind: 'granted', token, confirmedBy, validity };
  }

  /**
   * Takes one part. Only the first part may wait: a caller that waits for a later part would keep
   * other callers from the parts that are held already.
   */
  private async takeWithin(
    part: SlotPart,
    isFirst: boolean,
    endsAt: number,
    floor: number,
  ): Promise<AcquireOutcome> {
    const now = this.clock.monotonic();
    if (now >= endsAt) return TIME_UP;
    const replicaTimeout = Math.min(this.request.replicaTimeout, endsAt - now);
    const waitUntil = isFirst ? this.request.waitUntil : now;
    return this.take(part, { ...this.request, replicaTimeout, waitUntil }, floor);
  }

  private async giveBack(outcome: AcquireOutcome): Promise<AcquireOutcome> {
    const { request } = this;
    const given = [...this.taken].map(([part, granted]) =>
      this.routing.release({ ...request, ...granted }, part, 0),
    );
    this.taken.clear();
    if (given.length > 0) {
      let stopTimer: () => void = () => {};
      const timeUp = new Promise<void>((resolve) => {
        stopTimer = this.clock.after(request.replicaTimeout, resolve);
      });
      await Promise.race([Promise.all(given), timeUp]);
      stopTimer();
    }
    // The outcome is a grant here only if the caller left after the last grant.
    return outcome.kind === 'granted' ? ABANDONED : outcome;
  }
}

const TIME_UP: Unavailable = {
  kind: 'unavailable',
  reason:
    'the keys lie in several slots, and not all of them were confirmed in time: raise replicaTimeout, or give the keys one hash tag.',
};
const PART_EXPIRED: Unavailable = {
  kind: 'unavailable',
  reason:
    'the keys lie in several slots, and the lease of one of them ended before all were confirmed: raise leaseTime, or give the keys one hash tag.',
};
