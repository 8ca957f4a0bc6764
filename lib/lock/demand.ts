import { confirmTimeOf, type ReplicaPolicy } from '../store/lock-store.js';

/** What an acquisition needs in order to be granted. */
export interface Demand {
  /** The keys in sorted order. */
  readonly sorted: readonly string[];
  readonly options: {
    readonly replicas: ReplicaPolicy;
    readonly replicaTimeout: number;
    readonly leaseTime: number;
    readonly limit: number;
  };
}

/** True if `demand` needs at least as much as `other`: `demand` fails as long as `other` fails. */
export function needsAtLeast(demand: Demand, other: Demand): boolean {
  const { sorted, options } = demand;
  if (options === other.options && sorted.length === 1 && other.sorted.length === 1) return true;
  return (
    asksForAtLeast(options.replicas, other.options.replicas) &&
    confirmTimeOf(options) <= confirmTimeOf(other.options) &&
    includesAll(sorted, other.sorted)
  );
}

/**
 * `'all'` and a number cannot be compared, because the number of replicas that are online decides
 * which needs more.
 */
function asksForAtLeast(policy: ReplicaPolicy, other: ReplicaPolicy): boolean {
  if (policy === other || other === 'majority' || other === 0) return true;
  return typeof policy === 'number' && typeof other === 'number' && policy >= other;
}

function includesAll(keys: readonly string[], others: readonly string[]): boolean {
  if (keys.length < others.length) return false;
  let index = 0;
  for (const key of others) {
    while (index < keys.length && keys[index]! < key) index++;
    if (keys[index] !== key) return false;
  }
  return true;
}
