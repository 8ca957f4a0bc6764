import type { Clock } from '../../../common/clock.js';
import type { ListOutcome, ListRequest } from '../../lock-store.js';
import { listMaster } from '../master/lock-listing.js';
import type { RedisStoreOptions } from '../options.js';
import type { ClusterTopology } from './cluster-topology.js';
import { SLOTS } from './hash-slot.js';
import { withMaster, type Routing } from './routing.js';

/** The slot whose master is walked, and the cursor of that master, which may be empty. */
const CURSOR = /^(\d{1,5})\/(.*)$/;

/**
 * One page of the keys of one master of a Cluster. The walk goes from master to master, in the order
 * of their first slots. At the end comes the first slot without a master, if there is one: its
 * outcome says which keys could not be listed.
 */
export async function listCluster(
  { table }: Pick<ClusterTopology, 'table'>,
  routing: Pick<Routing, 'shardFor'>,
  { keyPrefix, replicaTimeout }: Pick<RedisStoreOptions, 'keyPrefix' | 'replicaTimeout'>,
  clock: Clock,
  { match, cursor = '' }: ListRequest,
): Promise<ListOutcome> {
  const [, slotText, masterCursor = ''] = CURSOR.exec(cursor) ?? [];
  const slot = Math.min(slotText === undefined ? (table.firstSlots()[0] ?? 0) : Number(slotText), SLOTS - 1);
  const endsAt = clock.monotonic() + replicaTimeout;
  for (let tries = 0; ; tries++) {
    const shard = await routing.shardFor(slot, endsAt, tries);
    if (!('master' in shard)) return shard;
    const outcome = await listMaster(shard.master, keyPrefix, { match, cursor: masterCursor });
    if (outcome.kind === 'route-again') continue;
    if (outcome.kind === 'unavailable') return withMaster(outcome, shard);
    const next = outcome.cursor === undefined ? nextSlot(table, slot) : slot;
    const { kind, locks } = outcome;
    return { kind, locks, ...(next !== undefined && { cursor: `${next}/${outcome.cursor ?? ''}` }) };
  }
}

/** Where the walk goes on once the master of `slot` has no further keys. */
function nextSlot(table: ClusterTopology['table'], slot: number): number | undefined {
  return table.firstSlots().find((first) => first > slot) ?? table.firstUnserved();
}
