import type { SlotTable } from './slot-table.js';

/*
 * Which master may grant a new lock in a slot. Within one shard, its master and the replicas that may take its place, `quorum.ts` decides: one majority,
 * by links older than every lease. But a slot can also go from one shard to another, and two shards have no server in common: no majority of the
 * one says anything of the other. So this is the argument for the way of a slot from shard S to shard T.
 *
 * 1. The move itself loses nothing. While S gives the slot away, it serves the keys that it still has and sends who asks for any other to T (ASK). A key goes over
 *    whole, owner, token and time to live (MIGRATE: T has it before S deletes it), and T serves the slot for everybody only when all keys are there. We never follow
 *    an ASK: so during the move S alone grants, and only in keys that are still there; afterwards T alone does. A renewal that is answered with ASK waits for the
 *    end of the move, and then T and T's replicas confirm it; where the move takes longer than the lease lasts, the lock is lost and its holder told.
 *
 *    Why not follow it: an ASK is the word of one server. An S that was frozen, and meanwhile replaced by one of its replicas, goes on saying ASK for a moment when it
 *    wakes, and T believes whoever says ASKING: a lock renewed that way would live beside the one that S's successor grants, for S's quorum was never asked.
 *
 * 2. A held lock's state at T's replicas. They may not have the key yet when T has it. If T is lost before they do, its successor has only new links, and grants
 *    nothing for one quarantine: counted from a moment after the move, and the last confirmation on S was before the move. So whoever held the lock has stopped
 *    believing; or has renewed it on T before, and then a majority of T's shard has the key.
 *
 * 3. A move that breaks off. If S is lost in the middle of it, its successor S' has the slot without knowing of the move, perhaps without the keys that had gone over.
 *    Its links are new: one quarantine, counted from a moment after each key's move. Renewals meanwhile go to S', the owner: the key is there, or gone and the lock lost.
 *    The copies at T count for nothing: nobody asks T for a slot that it does not own. If T is lost and its successor does not know of the slot, S says ASK and T's successor
 *    says MOVED: nobody grants until somebody mends it. If the move is called off (SETSLOT STABLE), the keys that had gone over are lost, and S's links are old:
 *    so a master that was seen to say ASK and has kept its slot grants nothing new in it for one quarantine.
 *
 * 4. What is left is what S had lost *before* the move. After a fail-over or a restart of S some lock may be unknown to it, and its young links keep S from granting
 *    its key again; T's links are old, and would not. So a new lock is granted in a slot only where
 *      - this process has seen the slot with this shard for a whole quarantine, or
 *      - no shard can have lost anything within the last quarantine: every one of them is connected, with a majority of old links.
 *    The first covers a shard that is down for long, the second lets the usual resharding, and a process that has just started, go on without a wait. A shard that leaves
 *    with all its slots is remembered for one quarantine where it could not be trusted.
 *
 * Not covered: a slot that is taken from its master by force, while that is frozen or cut off and does not hear of it (CLUSTER SETSLOT NODE, ADDSLOTS or redis-cli's fix
 * against a living server), and a move that is declared done while keys are still on S. There the fencing token is what is left, and the documentation says so.
 */

/** What slot trust must know of a shard. */
export interface TrustedShard {
  /** Whether it is sure to have lost no lock that somebody may still believe in. */
  isTrusted(now: number): boolean;
}

/** Decides whether new locks may be granted in a slot, beside what its master's replicas say. */
export class SlotTrust {
  /** Until then a shard that has gone may have lost something. */
  private doubtUntil = -Infinity;

  constructor(
    private readonly table: SlotTable,
    /** ms */
    private readonly quarantine: number,
    private readonly shards: () => Iterable<TrustedShard>,
  ) {}

  /** ms until new locks may be granted in the slot; 0 where they may. */
  wait(slot: number, now: number): number {
    const time = this.quarantine;
    if (time === 0) return 0;
    const leaving = this.table.leavingAt(slot) + time - now;
    if (leaving > 0) return leaving;
    const since = this.table.isFresh(now) ? this.table.since(slot) : now;
    const arrived = since + time - now;
    return arrived <= 0 || this.isWhole(now) ? 0 : arrived;
  }

  /** The shard has no slots any more, and will not be asked again. */
  left(shard: TrustedShard, now: number): void {
    if (!shard.isTrusted(now)) this.doubtUntil = now + this.quarantine;
  }

  /** No shard can have lost anything within the last quarantine. */
  private isWhole(now: number): boolean {
    if (now < this.doubtUntil) return false;
    for (const shard of this.shards()) if (!shard.isTrusted(now)) return false;
    return true;
  }
}
