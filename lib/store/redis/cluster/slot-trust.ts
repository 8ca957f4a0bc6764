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
 *    its key again; T's links are old, and would not. S may even be gone from the slots: its last one has left, it is T's replica by now (which the Cluster makes it by itself
 *    where `cluster-allow-replica-migration` is on), or it is dead. And this process may have started only now, and know nothing of S. So a new lock is granted in a slot only where
 *      a. every server shows that it has lost nothing within the last quarantine, asked *after* this process saw the slot come to T (`loss-evidence.ts`). T itself names the servers,
 *         for it had the slot from one of them, and all that anybody has named lately are asked for as well. A master shows it by the age of its links, with slots or
 *         without: it has been one master with one set of data for as long as every one of its replicas follows it. A replica shows it by the age of its link to its master: it
 *         has served nothing for so long. Who cannot be asked, shows nothing.
 *      b. or this process has seen the slot with T for so long that no lock that S knew, and T does not, can be believed in: `doubtTime`.
 *    Once shown, a slot is trusted as long as it stays where it is, whatever happens to other shards; what happens to its own is the affair of `quorum.ts`.
 *
 *    Why a look must follow the slot: what S showed before says nothing of a loss between the look and the move. Why all servers: of two masters that S had at once the one that is
 *    cut off shows old links, and the other gave the slot away. Why every link, when a majority is enough for a grant: a young link may be that of an emptied master.
 *
 * 5. A shard is its slots. A replica takes its master's place with all of its slots, and then the slots have stayed in their shard: majority and links say all. Any other way to a slot is a
 *    move, also where the server belonged to the slot's shard once: as a replica that was made a master of its own, or an old master that an operator gave a slot.
 *
 * 6. Atomic migration (Valkey 9, Redis 8.4) loses writes where T hangs at the last step: S waits for 10 s, goes on to grant, and T takes the slot all the same
 *    when it wakes. S knows: its job has failed. So where T says that a slot came by such a job, S must say that it was successful, or (b) is left.
 *
 * 7. How long doubt lasts. A lock in the slot was confirmed by S at the latest when S stopped to serve it, and is believed in for one quarantine more. Whoever moves a slot takes it from a
 *    master that hears of it, and then that was before T had it. But a replica can take the place of a master that is cut off (CLUSTER FAILOVER TAKEOVER) and give the slot to
 *    T at once: the old master goes on, with a replica that is cut off together with it, until it notices that it does not hear the others: after 1.5 times
 *    `cluster-node-timeout`, which is less than a third of a lease (docs/guarantees.md). So doubt lasts one and a half quarantines.
 *
 * 8. Looks have gaps. A slot that leaves T and comes back between two looks is noticed by T's epoch, which grows with every slot that comes, unless another slot came to T
 *    within the same seconds. The gap is one second, up to five where servers do not answer.
 *
 * Not covered: a slot that is taken from its master by force, while that is frozen or cut off and does not hear of it (CLUSTER SETSLOT NODE, ADDSLOTS or redis-cli's fix
 * against a living server), a move that is declared done while keys are still on S, and a server that is forgotten (CLUSTER FORGET) within a quarantine of its loss, for a process that starts
 * after that. There the fencing token is what is left, and the documentation says so.
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
