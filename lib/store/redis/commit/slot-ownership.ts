import type { Redirection } from '../connection/redirection.js';
import type { Release } from './commit-request.js';

/** The slots of one master of a Cluster, as far as known here. A master that holds all keys has no `SlotOwnership`. */
export interface SlotOwnership {
  /** Whether the slot belongs to this master. */
  owns(slot: number | undefined): boolean;
  /** Whether new locks may be granted in the slot now, beside what the replicas say: see `SlotTrust`. */
  mayGrant(slot: number | undefined): boolean;
  /** The master sent somebody away. */
  onRedirection(redirection: Redirection): void;
  /** A release whose slot this master does not own: the master that does adopts it. False while no master is known to. */
  handOver(release: Release): boolean;
}
