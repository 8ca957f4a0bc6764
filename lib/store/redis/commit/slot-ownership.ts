import type { Unavailable } from '../../lock-store.js';
import type { Redirection } from '../connection/redirection.js';
import type { Release } from './release.js';

/**
 * What this process knows about the slots of one master of a Cluster. Without a Cluster there is
 * none.
 */
export interface SlotOwnership {
  /** Whether the slot belongs to this master. */
  owns(slot: number | undefined): boolean;
  /**
   * Whether new locks may be granted in the slot now, apart from what the replicas say: see
   * `SlotTrust`.
   */
  mayGrant(slot: number | undefined): boolean;
  /** The master answered a request with MOVED or ASK. */
  onRedirection(redirection: Redirection): void;
  /**
   * Hands a release to the master that owns its slot. A release whose slot has no master waits for
   * a master.
   */
  handOver(release: Release): void;
  /** Why no master serves the slot; undefined if a master does. */
  whyUnserved(slot: number | undefined): Unavailable | undefined;
}
