import type { Clock } from '../../../common/clock.js';
import type {
  AcquireOutcome,
  AcquireRequest,
  HeldKeys,
  ReleaseOutcome,
  RenewOutcome,
  RenewPurpose,
  Unavailable,
  WatchOutcome,
} from '../../lock-store.js';
import type { Command, Reply } from '../resp.js';
import type { MasterAttempt } from '../master/master.js';
import type { Session } from '../connection/session.js';
import type { ClusterTopology } from './cluster-topology.js';
import type { Shard } from './shard.js';
import type { SlotPart } from './keys-by-slot.js';

/**
 * ms before asking again who serves a slot, where nobody does or two masters send us to each other;
 * and ms between two looks while new locks wait.
 */
const RETRY_TIME = 100;
/** How often one may be sent away before that looks like a circle. */
const PATIENCE = 3;

/** Finds the master of a slot for one request, and goes after the slot when it moves. */
export class Routing {
  constructor(
    private readonly topology: ClusterTopology,
    private readonly settings: { readonly replicaTimeout: number; readonly clockSkew: number },
    private readonly clock: Clock,
  ) {}

  /**
   * One attempt to take the part's keys. `onAsked` is told of each master that is asked; `isOver`
   * ends it between two of them.
   */
  async acquire(
    request: AcquireRequest,
    { slot, keys }: SlotPart,
    floor: number,
    onAsked: (attempt: MasterAttempt) => void,
    isOver: () => boolean,
  ): Promise<AcquireOutcome> {
    const { waitUntil, replicaTimeout, leaseTime } = request;
    const now = this.clock.monotonic();
    const endsAt = Math.max(waitUntil, now + Math.min(replicaTimeout, leaseTime / 2));
    for (let tries = 0; ; tries++) {
      const shard = await this.shardFor(slot, endsAt, tries);
      if (!('master' in shard)) return shard;
      const closed = await this.trusted(slot, shard, waitUntil, endsAt);
      if (closed !== undefined) return closed;
      if (isOver()) return ABANDONED;
      const attempt = shard.master.acquire({ ...request, keys }, { slot, floor });
      onAsked(attempt);
      const outcome = await attempt.outcome;
      if (outcome.kind !== 'slot-moved') return withMaster(outcome, shard);
    }
  }

  async renew(
    { slot, keys }: SlotPart,
    { owner, validity }: HeldKeys,
    leaseTime: number,
    purpose: RenewPurpose,
  ): Promise<RenewOutcome> {
    for (let tries = 0; ; tries++) {
      const endsAt = this.clock.monotonic() + validity.remaining(this.clock);
      const shard = await this.shardFor(slot, endsAt, tries);
      if (!('master' in shard)) return { kind: 'expired', why: shard };
      const outcome = await shard.master.renew(keys, owner, leaseTime, validity, purpose, slot);
      if (outcome.kind === 'expired') return { kind: 'expired', why: withMaster(outcome.why, shard) };
      if (outcome.kind !== 'slot-moved') return outcome;
    }
  }

  /** Once a master has taken it over it goes after the slot by itself. */
  async release(
    { slot, keys }: SlotPart,
    owner: string,
    token: number,
    cooldown: number,
    leaseTime: number,
  ): Promise<ReleaseOutcome> {
    const endsAt = this.clock.monotonic() + this.settings.replicaTimeout;
    const shard = await this.shardFor(slot, endsAt, 0);
    return 'master' in shard
      ? shard.master.release({ keys, owner, token, cooldown }, leaseTime, slot)
      : shard;
  }

  /**
   * Of the master that is known to serve the slot now: who asked asks again where that is another.
   */
  async watch({ slot, keys }: SlotPart, owner: string): Promise<WatchOutcome> {
    return this.topology.shardOf(slot)?.master.watch(keys, owner, slot) ?? { kind: 'unknown' };
  }

  async ask(slot: number, commandsFor: (session: Session) => Command[]): Promise<Reply[] | Unavailable> {
    const endsAt = this.clock.monotonic() + this.settings.replicaTimeout;
    for (let tries = 0; ; tries++) {
      const shard = await this.shardFor(slot, endsAt, tries);
      if (!('master' in shard)) return shard;
      const replies = await shard.master.ask(commandsFor);
      if (Array.isArray(replies)) return replies;
      if (replies.kind !== 'slot-moved') return withMaster(replies, shard);
    }
  }

  /**
   * The shard that serves the slot, waiting for one until the monotonic instant `endsAt`; else why
   * there is none.
   */
  private async shardFor(slot: number, endsAt: number, tries: number): Promise<Shard | Unavailable> {
    if (tries > PATIENCE) await this.topology.nextView(RETRY_TIME);
    for (;;) {
      const shard = this.topology.shardOf(slot);
      const left = endsAt - this.clock.monotonic();
      if (shard !== undefined && (left > 0 || tries === 0)) return shard;
      if (shard !== undefined) return wandering(slot);
      const why = this.topology.whyUnserved(slot);
      if (left <= 0 || why.permanent === true || this.topology.isClosed) return why;
      await this.topology.nextView(Math.min(left, RETRY_TIME));
    }
  }

  /**
   * Waits until new locks may be granted in the slot; else says how long that takes. What all
   * servers show is waited for until `endsAt` anyway.
   */
  private async trusted(
    slot: number,
    shard: Shard,
    waitUntil: number,
    endsAt: number,
  ): Promise<Unavailable | undefined> {
    const { trust, table, lossCheck } = this.topology;
    for (;;) {
      const now = this.clock.monotonic();
      const wait = trust.wait(slot, now);
      if (wait === 0) return undefined;
      const until = lossCheck.hasAsked(shard.masterId, table.since(slot)) ? waitUntil : endsAt;
      if (now >= until || this.topology.isClosed)
        return withMaster(unsettled(slot, wait, lossCheck.doubtOf(shard.masterId)), shard);
      await this.topology.nextView(Math.min(wait, until - now, RETRY_TIME));
    }
  }
}

const ABANDONED: Unavailable = { kind: 'unavailable', reason: 'The caller has gone.' };

/** Says which shard it was that failed. */
function withMaster<O extends AcquireOutcome | Unavailable>(outcome: O, shard: Shard): O {
  if (outcome.kind === 'unavailable') return { ...outcome, reason: `${shard.name}: ${outcome.reason}` };
  if (outcome.kind === 'unconfirmed') return { ...outcome, master: shard.name };
  return outcome;
}

function wandering(slot: number): Unavailable {
  return {
    kind: 'unavailable',
    reason: `the masters of the Redis Cluster do not agree who serves slot ${slot}: see CLUSTER NODES on each of them.`,
  };
}

function unsettled(slot: number, wait: number, doubt: string | undefined): Unavailable {
  return {
    kind: 'unavailable',
    reason:
      `slot ${slot} moved, or this process has just met it, while some shard cannot show that it has lost nothing${doubt === undefined ? '' : ` (${doubt})`}; ` +
      `new locks in it are granted in ${Math.ceil(wait / 1000)} s at the latest (option quarantine). Locks that are held go on.`,
    retryAfter: wait,
  };
}
