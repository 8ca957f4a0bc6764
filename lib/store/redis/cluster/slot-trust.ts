import type { SlotTable } from './slot-table.js';

/*
 * Which master may grant a new lock in a slot. Within one shard, the master and the replicas that
 * may take its place, `quorum.ts` decides: one majority, by links older than every lease. But a slot
 * can also go from one shard to another. Two shards have no server in common, so no majority of the
 * one says anything about the other. This is the argument for a slot that goes from shard S to
 * shard T.
 *
 * 1. The move itself loses nothing. While S gives the slot away, S serves the keys that are still
 *    there and sends requests for any other key to T (ASK). A key goes over whole, with owner, token
 *    and time to live (MIGRATE: T has the key before S deletes it). T serves the slot only when all
 *    keys are there. This library never follows an ASK: during the move S alone grants, and only
 *    keys that are still there; afterwards T alone does. A renewal that is answered with ASK waits
 *    for the end of the move, and then T and its replicas confirm it. If the move takes longer than
 *    the lease lasts, the lock is lost and its holder is told.
 *
 *    An ASK is not followed because it is the word of one server. If S was frozen and replaced by
 *    one of its replicas, S goes on to answer ASK for a moment when it wakes, and T believes every
 *    client that says ASKING. A lock renewed that way would live beside the lock that the successor
 *    of S grants, for the quorum of S was never asked.
 *
 * 2. A held lock at the replicas of T. They may not have the key yet when T has it. If T is lost
 *    before they do, the successor of T has only new links, and grants nothing for one quarantine.
 *    The last confirmation on S was before the move, so the holder has stopped believing by then; or
 *    the holder has renewed the lock on T before, and then a majority of the shard of T has the key.
 *
 * 3. A move that breaks off. If S is lost in the middle of the move, its successor has the slot
 *    without knowing of the move, perhaps without the keys that had gone over. Its links are new, so
 *    one quarantine passes. Renewals meanwhile go to the successor, the owner: the key is there, or
 *    gone and the lock lost. The copies at T count for nothing, for no client asks T for a slot that
 *    T does not own. If T is lost and its successor does not know of the slot, S answers ASK and the
 *    successor MOVED: no lock is granted until an operator mends it. If the move is called off
 *    (SETSLOT STABLE), the keys that had gone over are lost, and the links of S are old. So a master
 *    that answered ASK and has kept its slot grants nothing new in the slot for one quarantine.
 *
 * 4. What is left is what S had lost before the move. After a fail-over or a restart, S may not know
 *    a lock, and its young links keep S from granting the key again. The links of T are old and
 *    would not. By then S may have no slots at all, may be a replica of T (which the Cluster makes
 *    it by itself if `cluster-allow-replica-migration` is on), or may be dead; and a process that
 *    has started only now knows nothing of S. So a new lock is granted in a slot only if
 *      a. every server shows that it has lost nothing within the last quarantine, asked after this
 *         process saw the slot at T (`loss-evidence.ts`). T names the servers, for T had the slot
 *         from one of them. All servers that were named lately by any other are asked for as well.
 *         A master, with slots or without, shows it by the age of its links: it has been one master
 *         with one set of data for as long as every one of its replicas follows it. A replica shows
 *         it by the age of its link to its master: it has served nothing for so long. A server that
 *         cannot be asked shows nothing.
 *      b. or this process has seen the slot at T for so long that no lock which S knew, and T does
 *         not, can be believed in: `doubtTimeOf`.
 *    Once shown, a slot is trusted as long as it stays with T, whatever happens to other shards.
 *    What happens to the shard of T is for `quorum.ts` to judge.
 *
 *    The look must follow the slot: what S showed before says nothing about a loss between the look
 *    and the move. All servers must show it: if S has two masters for a while, the one that is cut
 *    off has old links, and the other one gave the slot away. Every link must be old, although a
 *    majority is enough for a grant: a young link may be that of an emptied master.
 *
 * 5. A shard is its slots. A replica takes the place of its master with all slots, and then the
 *    slots have stayed in their shard. Any other way to a slot is a move, even if the server
 *    belonged to the shard of the slot once: a replica that was made a master of its own, or a
 *    former master without slots.
 *
 * 6. Atomic migration (Valkey 9, Redis 8.4) loses writes if T hangs at the last step: S waits for
 *    10 s and goes on to grant, and T takes the slot all the same when it wakes. S knows, for its job
 *    has failed. So if T says that a slot came by such a job, S must say that the job was
 *    successful; else only (b) is left.
 *
 * 7. How long doubt lasts. S confirmed a lock in the slot at the latest when S stopped to serve it,
 *    and the lock is believed in for one quarantine more. A move takes a slot from a master that
 *    hears of it, and then that was before T had the slot. But a replica can take the place of a
 *    master that is cut off (CLUSTER FAILOVER TAKEOVER) and give the slot to T at once. The old
 *    master, with a replica that is cut off together with it, goes on until it notices that it does
 *    not hear the others: after 1.5 times `cluster-node-timeout`, which is less than a third of a
 *    lease (docs/guarantees.md). So doubt lasts one and a half quarantines.
 *
 * 8. Looks have gaps of one second, and up to five if servers do not answer. A slot that leaves T
 *    and comes back within a gap is noticed by the epoch of T, which grows with every slot that
 *    comes, unless another slot came to T within the same seconds.
 *
 * Not covered: a slot that is taken by force from a master that is frozen or cut off and does not
 * hear of it (CLUSTER SETSLOT NODE, ADDSLOTS, redis-cli's fix); a move that is declared done while
 * keys are still on S; a server that is forgotten (CLUSTER FORGET) within a quarantine of its loss,
 * for a process that starts after that; a lock in a slot that was away and back before the next
 * look. There the fencing token is what is left, and the documentation says so.
 */

/** ms after which a slot is trusted that has stayed with one master, whatever any server may have lost before: see 7 above. */
export function doubtTimeOf(quarantine: number): number {
  return quarantine * 1.5;
}

/** Decides whether new locks may be granted in a slot, beside what its master's replicas say. */
export class SlotTrust {
  constructor(
    private readonly table: SlotTable,
    /** ms */
    private readonly quarantine: number,
  ) {}

  /** ms until new locks may be granted in the slot; 0 where they may. */
  wait(slot: number, now: number): number {
    if (this.quarantine === 0) return 0;
    const doubtTime = doubtTimeOf(this.quarantine);
    if (!this.table.isFresh(now)) return doubtTime;
    const leaving = this.table.leavingAt(slot) + this.quarantine - now;
    const arrived = this.table.isShown(slot) ? 0 : this.table.since(slot) + doubtTime - now;
    return Math.max(0, leaving, arrived);
  }
}
