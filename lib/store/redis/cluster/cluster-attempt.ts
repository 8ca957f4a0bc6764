import type { Clock } from '../../../common/clock.js';
import type { AcquireOutcome, AcquireRequest, Unavailable } from '../../lock-store.js';
import type { MasterAttempt } from '../master/master.js';
import type { Routing } from './routing.js';
import type { SlotPart } from './keys-by-slot.js';

type Granted = Extract<AcquireOutcome, { kind: 'granted' }>;

/**
 * One attempt to take keys that may lie in several slots, all or none. The parts are taken one after the other in the order of their slots; a part that is not
 * granted gives back those before it. The lock's token is that of the last part: each is asked for with the greatest so far as its floor, and those that hold less are
 * raised to it before the lock counts as granted. It is valid until the first of its parts ends.
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

  /** What a master was asked for it takes back itself, and may answer nothing any more; what was granted is given back here. */
  abandon(): void {
    this.isAbandoned = true;
    this.current?.abandon();
    void this.giveBack(TOO_SLOW);
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
      // It had ended, and was taken anew with a greater one.
      if (raised.token !== token) return this.giveBack(TOO_SLOW);
      taken.set(part, raised);
    }
    const validity = [...taken.values()]
      .map((granted) => granted.validity)
      .reduce((one, other) => (one.remaining(this.clock) <= other.remaining(this.clock) ? one : other));
    if (validity.remaining(this.clock) <= 0) return this.giveBack(TOO_SLOW);
    const confirmedBy = [...taken.values()].reduce(
      (least, granted) => Math.min(least, granted.confirmedBy),
      Infinity,
    );
    return { kind: 'granted', token, confirmedBy, validity };
  }

  /** Who holds a part already does not wait for the next: others may need it. */
  private async takeWithin(
    part: SlotPart,
    isFirst: boolean,
    endsAt: number,
    floor: number,
  ): Promise<AcquireOutcome> {
    const now = this.clock.monotonic();
    if (now >= endsAt) return TOO_SLOW;
    const replicaTimeout = Math.min(this.request.replicaTimeout, endsAt - now);
    const waitUntil = isFirst ? this.request.waitUntil : now;
    return this.take(part, { ...this.request, replicaTimeout, waitUntil }, floor);
  }

  private async giveBack(outcome: AcquireOutcome): Promise<AcquireOutcome> {
    const { owner, leaseTime, replicaTimeout } = this.request;
    const given = [...this.taken].map(([part, { token }]) =>
      this.routing.release(part, owner, token, 0, leaseTime),
    );
    this.taken.clear();
    if (given.length > 0) {
      let stopClock: () => void = () => {};
      const timeUp = new Promise<void>((resolve) => {
        stopClock = this.clock.after(replicaTimeout, resolve);
      });
      await Promise.race([Promise.all(given), timeUp]);
      stopClock();
    }
    return outcome.kind === 'granted' ? TOO_SLOW : outcome;
  }
}

const TOO_SLOW: Unavailable = {
  kind: 'unavailable',
  reason: 'the keys lie in several slots, and the first was about to end when the last was confirmed.',
};
