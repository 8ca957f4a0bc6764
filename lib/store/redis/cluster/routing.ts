import type { Clock } from '../../../common/clock.js';
import {
  attemptEndOf,
  type AcquireOutcome,
  type AcquireRequest,
  type HeldKeys,
  type OwnedKeys,
  type ReleaseOutcome,
  type Renewal,
  type RenewOutcome,
  type RenewPurpose,
  type Unavailable,
  type WatchOutcome,
} from '../../lock-store.js';
import type { Command, Reply } from '../resp.js';
import type { MasterAttempt, MasterRenewal } from '../master/master.js';
import type { Session } from '../connection/session.js';
import type { ClusterTopology } from './cluster-topology.js';
import type { Shard } from './shard.js';
import type { SlotPart } from './keys-by-slot.js';

/**
 * ms before a request looks for the slot's master again, if no master serves the slot or two
 * masters redirect to each other. Also the time between two checks while new locks wait for trust.
 */
const LOOK_AGAIN_TIME = 100;
/**
 * Redirections in a row after which a request waits for the next view: two masters may redirect to
 * each other.
 */
const MOST_REDIRECTIONS = 3;

/** Finds the master of a slot for one request, and follows a slot that moves. */
export class Routing {
  constructor(
    private readonly topology: ClusterTopology,
    private readonly settings: { readonly replicaTimeout: number },
    private readonly clock: Clock,
  ) {}

  /**
   * One attempt to take the part's keys. `onAsked` is called with each attempt on a master;
   * `isOver` ends the loop between two of them.
   */
  async acquire(
    request: AcquireRequest,
    part: SlotPart,
    floor: number,
    onAsked: (attempt: MasterAttempt) => void,
    isOver: () => boolean,
  ): Promise<AcquireOutcome> {
    const { slot } = part;
    const endsAt = attemptEndOf(request, this.clock.monotonic());
    for (let tries = 0; ; tries++) {
      const shard = await this.shardFor(slot, endsAt, tries);
      if (!('master' in shard)) return shard;
      const refusal = await this.waitForTrust(request, slot, shard, endsAt);
      if (refusal !== undefined) return refusal;
      if (isOver()) return ABANDONED;
      // The slot may have left the shard meanwhile, and an empty shard is closed.
      if (this.topology.shardOf(slot) !== shard) continue;
      const attempt = shard.master.acquire(request, part, floor);
      onAsked(attempt);
      const outcome = await attempt.outcome;
      if (outcome.kind !== 'route-again') return withMaster(outcome, shard);
    }
  }

  renew(lock: HeldKeys, part: SlotPart, leaseTime: number, purpose: RenewPurpose): Renewal {
    let asked: { readonly shard: Shard; readonly renewal: MasterRenewal } | undefined;
    const renew = async (): Promise<RenewOutcome> => {
      for (let tries = 0; ; tries++) {
        const endsAt = this.clock.monotonic() + lock.validity.remaining(this.clock);
        const shard = await this.shardFor(part.slot, endsAt, tries);
        if (!('master' in shard)) return { kind: 'expired', why: shard };
        const renewal = shard.master.renew(lock, part, leaseTime, purpose);
        asked = { shard, renewal };
        const outcome = await renewal.outcome;
        if (outcome.kind === 'expired') return { kind: 'expired', why: withMaster(outcome.why, shard) };
        if (outcome.kind !== 'route-again') return outcome;
        asked = undefined;
      }
    };
    return {
      outcome: renew(),
      whyNot: () => {
        if (asked === undefined) return this.whyNoShard(part.slot);
        const why = asked.renewal.whyNot();
        return why && withMaster(why, asked.shard);
      },
    };
  }

  /** Hands on the release, which waits for a master of its slot and follows the slot by itself. */
  release(lock: HeldKeys, part: SlotPart, cooldown: number): Promise<ReleaseOutcome> {
    return this.topology.releasesOf(part.slot).release(lock, part, cooldown);
  }

  /**
   * Asks the known master of the slot to watch the keys. If the slot has moved, the answer is
   * `unknown`. The move counts as a change of these keys, and each renewal watches its keys again.
   */
  async watch(lock: OwnedKeys, part: SlotPart): Promise<WatchOutcome> {
    return this.topology.shardOf(part.slot)?.master.watch(lock, part) ?? { kind: 'unknown' };
  }

  async ask(slot: number, commandsFor: (session: Session) => Command[]): Promise<Reply[] | Unavailable> {
    const endsAt = this.clock.monotonic() + this.settings.replicaTimeout;
    for (let tries = 0; ; tries++) {
      const shard = await this.shardFor(slot, endsAt, tries);
      if (!('master' in shard)) return shard;
      const replies = await shard.master.ask(commandsFor);
      if (Array.isArray(replies)) return replies;
      if (replies.kind !== 'route-again') return withMaster(replies, shard);
    }
  }

  /**
   * The shard that serves the slot. Waits for one until the monotonic instant `endsAt`; after that,
   * says why there is none.
   */
  async shardFor(slot: number, endsAt: number, tries: number): Promise<Shard | Unavailable> {
    if (tries > MOST_REDIRECTIONS) await this.topology.nextView(LOOK_AGAIN_TIME);
    for (;;) {
      const shard = this.topology.shardOf(slot);
      const left = endsAt - this.clock.monotonic();
      if (shard !== undefined && (left > 0 || tries === 0)) return shard;
      const why = this.whyNoShard(slot);
      if (shard !== undefined) return why;
      if (left <= 0 || why.permanent === true || this.topology.isClosed) return why;
      await this.topology.nextView(Math.min(left, LOOK_AGAIN_TIME));
    }
  }

  /** Why a request finds no shard that takes it. */
  private whyNoShard(slot: number): Unavailable {
    return this.topology.whyUnserved(slot) ?? noAgreement(slot);
  }

  /**
   * Waits until new locks may be granted in the slot. Only this loop can wait and name the doubt.
   * `OpenRequests` asks once more when a group is sent, and routes the request again if trust was
   * lost meanwhile. Answers `unavailable` with the time that is left if that takes longer than
   * `waitUntil`. The first loss check that asks about the slot is waited for until `endsAt` in any
   * case. Answers at once if the shard's own master grants no lock before `waitUntil`: trust in the
   * slot would not help.
   */
  private async waitForTrust(
    request: AcquireRequest,
    slot: number,
    shard: Shard,
    endsAt: number,
  ): Promise<AcquireOutcome | undefined> {
    const { waitUntil } = request;
    const { trust, table, lossCheck } = this.topology;
    for (;;) {
      const now = this.clock.monotonic();
      const left = trust.timeUntilTrusted(slot, now);
      if (left === 0) return undefined;
      const inVain = shard.master.whyInVain(request);
      if (inVain !== undefined) {
        const isSooner = inVain.kind === 'unavailable' && (inVain.retryAfter ?? Infinity) < left;
        const doubt = lossCheck.doubtOf(shard.masterId);
        return withMaster(isSooner ? notTrusted(slot, left, doubt) : inVain, shard);
      }
      const until = lossCheck.hasAsked(shard.masterId, table.since(slot)) ? waitUntil : endsAt;
      if (now >= until || this.topology.isClosed)
        return withMaster(notTrusted(slot, left, lossCheck.doubtOf(shard.masterId)), shard);
      await this.topology.nextView(Math.min(left, until - now, LOOK_AGAIN_TIME));
    }
  }
}

/** The outcome of an attempt whose caller has left, and does not hear it. */
export const ABANDONED: Unavailable = { kind: 'unavailable', reason: 'The caller does not wait any more.' };

/** Names the shard in the outcome of a failure. */
export function withMaster<O extends AcquireOutcome | Unavailable>(outcome: O, shard: Shard): O {
  if (outcome.kind === 'unavailable') return { ...outcome, reason: `${shard.name}: ${outcome.reason}` };
  if (outcome.kind === 'unconfirmed') return { ...outcome, master: shard.name };
  return outcome;
}

function noAgreement(slot: number): Unavailable {
  return {
    kind: 'unavailable',
    reason: `the masters of the Redis Cluster do not agree which of them serves slot ${slot}: see CLUSTER NODES on each of them.`,
  };
}

function notTrusted(slot: number, left: number, doubt: string | undefined): Unavailable {
  return {
    kind: 'unavailable',
    reason:
      `slot ${slot} moved, or is new to this process, and a server cannot show that it lost no lock${doubt === undefined ? '' : ` (${doubt})`}; ` +
      `new locks in this slot are granted in ${Math.ceil(left / 1000)} s at the latest (option quarantine). Locks that are held go on.`,
    retryAfter: left,
  };
}
