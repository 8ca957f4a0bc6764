import type { SlotTable } from './slot-table.js';

/*
 * Which master may grant a new lock in a slot.
 *
 * Within one shard, `quorum.ts` decides. A shard is a master and the replicas that may take its
 * place: one majority, and links that are older than every lease. But a slot can also move from one
 * shard to another. Two shards have no server in common, so no majority of one shard says anything
 * about the other. The argument below is for a slot that moves from shard S to shard T.
 *
 * 1. The move itself loses nothing. While S gives the slot away, S serves the keys that are still
 *    there, and sends requests for any other key to T (ASK). A key moves as a whole, with owner,
 *    token and time to live (MIGRATE: T has the key before S deletes it). T serves the slot only
 *    when all keys are there. This library never follows an ASK. So during the move only S grants,
 *    and only keys that are still on S; after the move only T grants. A renewal that is answered
 *    with ASK waits for the end of the move, and then T and its replicas confirm the renewal. If
 *    the move takes longer than the lease, the lock is lost and the holder is told.
 *
 *    An ASK is not followed because only one server vouches for it. Suppose that S was frozen and
 *    replaced by one of its replicas. When S wakes, S goes on to answer ASK for a moment, and T
 *    believes every client that sends ASKING. A lock that is renewed that way would live beside the
 *    lock that the successor of S grants, because the quorum of S was never asked.
 *
 * 2. A held lock on the replicas of T. When T has the key, the replicas of T may not have the key
 *    yet. Suppose that T is lost before they do. The successor of T has only new links, so the
 *    successor grants nothing for one quarantine. A last confirmation on S came before the move, so
 *    the holder has stopped believing by then. If the holder has renewed the lock on T
 *    since, a majority of the shard of T has the key.
 *
 * 3. A move that breaks off.
 *    - S is lost in the middle of the move. Its successor has the slot, does not know of the move,
 *      and may lack the keys that had moved already. The links of the successor are new, so one
 *      quarantine passes. Renewals meanwhile go to the successor, which owns the slot: either the
 *      key is there, or the key is gone and the lock is lost. The copies on T do not count, because
 *      no client asks T for a slot that T does not own.
 *    - T is lost, and its successor does not know of the slot. S answers ASK and the successor
 *      answers MOVED: no lock is granted until an operator repairs the slot.
 *    - The move is called off (SETSLOT STABLE). The keys that had moved already are lost, and the
 *      links of S are old. So a master that answered ASK and has kept its slot grants nothing new
 *      in the slot for one quarantine.
 *
 * 4. The remaining danger is what S had lost before the move. After a fail-over or a restart, S may
 *    lack a lock, and only the young links of S keep S from granting the key again. The links of T
 *    are old and would not prevent the grant. By then S may have no slots at all, may be a replica
 *    of T (the Cluster does that by itself if `cluster-allow-replica-migration` is on), or may be
 *    dead. And a process that has started only now knows nothing about S. So a new lock is granted
 *    in a slot only in one of two cases:
 *    a. Every server shows that nothing was lost within the last quarantine, asked after this
 *       process saw the slot at T (`loss-evidence.ts`). T names the servers, because T had the slot
 *       from one of them. A master, with or without slots, proves this by the age of the
 *       replication links: the master has been one master with one set of data for as long as every
 *       replica has followed. A replica proves this by the age of the link to the master: the
 *       replica has served nothing for that long. A server that cannot be asked shows nothing.
 *       Neither does a server that another view named lately, and T does not name.
 *    b. This process has seen the slot at T for so long that no lock that S knew, and T does not
 *       know, can still be believed in: `doubtTimeOf`.
 *    Once proven intact, a slot is trusted as long as it stays with T, whatever happens to other
 *    shards. What happens to the shard of T is for `quorum.ts` to judge.
 *
 *    The check must come after the move: what S showed before the move says nothing about a loss
 *    between the check and the move. All servers must prove this: if S has two masters for a while,
 *    the master that is cut off has old links, and the other master gave the slot away. Every link
 *    must be old, although a grant needs only a majority of old links: a young link may belong to a
 *    master that was emptied.
 *
 * 5. A shard is identified by its slots. If a replica takes the place of its master with all slots,
 *    the slots have stayed in their shard. Any other change of a slot's owner is a move, even if
 *    the new owner belonged to the slot's shard once: for example a replica that was made a master
 *    of its own, or a former master without slots.
 *
 * 6. Atomic migration (Valkey 9, Redis 8.4) loses writes if T hangs in the last step. S waits for
 *    10 s, and then grants again. T takes the slot all the same when T wakes. S knows this, because
 *    the job has failed on S. So if T says that a slot came by such a job, S must say that the job
 *    was successful. Otherwise only case b of 4 is left.
 *
 * 7. How long doubt lasts. S confirmed a lock in the slot at the latest when S stopped serving the
 *    slot, and the lock is believed in for one quarantine after that. If the slot is taken from a
 *    master that hears of the move, S stopped before T had the slot. But a replica can take the
 *    place of a master that is cut off (CLUSTER FAILOVER TAKEOVER) and give the slot to T at once.
 *    The old master, with a replica on the same side of the cut, goes on until the silence of the
 *    other masters shows. That takes 1.5 times `cluster-node-timeout`, which is less than a
 *    third of a lease (docs/guarantees.md). So doubt lasts one and a half quarantines.
 *
 * 8. Views have gaps: one second, and up to five if servers do not answer. A slot that leaves T and
 *    comes back within a gap is noticed by the epoch of T, which grows with every slot that comes.
 *    The exception is another slot that came to T within the same seconds.
 *
 * Not covered:
 * - A slot that is taken by force from a master that is frozen or cut off and does not hear of that
 *   (CLUSTER SETSLOT NODE, ADDSLOTS, `redis-cli --cluster fix`).
 * - A move that is declared done while keys are still on S.
 * - A server that is forgotten (CLUSTER FORGET) within a quarantine of its loss, for a process that
 *   starts after that.
 * - A lock in a slot that was away and back before the next view.
 *
 * In these cases only the fencing token is left, and the documentation says so.
 */

/**
 * ms after which a slot that has stayed with one master is trusted, whatever any server may have
 * lost before: see 7 above.
 */
export function doubtTimeOf(quarantine: number): number {
  return quarantine * 1.5;
}

/**
 * Decides whether new locks may be granted in a slot. What the replicas of the slot's master say is
 * decided elsewhere: `quorum.ts`.
 */
export class SlotTrust {
  constructor(
    private readonly table: SlotTable,
    /** ms */
    private readonly quarantine: number,
  ) {}

  /** ms until new locks may be granted in the slot; 0 if the slot is trusted now. */
  timeUntilTrusted(slot: number, now: number): number {
    if (this.quarantine === 0) return 0;
    const doubtTime = doubtTimeOf(this.quarantine);
    if (!this.table.isFresh(now)) return doubtTime;
    const migrating = this.table.migratingAt(slot) + this.quarantine - now;
    const arrived = this.table.isProvenIntact(slot) ? 0 : this.table.since(slot) + doubtTime - now;
    return Math.max(0, migrating, arrived);
  }
}
