import type { ClusterNode } from './cluster-nodes.js';

/** What a master showed about itself in answer to a question. */
export interface MasterEvidence {
  /** The number of replicas that acknowledge the replication stream. */
  readonly replicas: number;
  /** Every listed replica link has stood for a whole quarantine. */
  readonly allLinksOld: boolean;
}

export interface LossSettings {
  /** ms after which a slot is trusted in any case: see `slot-trust.ts`. */
  readonly doubtTime: number;
  readonly allowNoReplicas: boolean;
}

/**
 * Says why a server that served slots may have lost a lock within the last quarantine. Undefined if
 * that is impossible for every server.
 *
 * - `named`: all servers, as one master names them.
 * - `known`: addresses by id of all servers that any view has named lately.
 * - `evidence`: what the masters showed since. A master that did not answer, or is a replica now,
 *   has none.
 */
export function mayHaveLost(
  named: readonly ClusterNode[],
  known: ReadonlyMap<string, string>,
  evidence: ReadonlyMap<string, MasterEvidence>,
  { doubtTime, allowNoReplicas }: LossSettings,
): string | undefined {
  const ids = new Set(named.map(({ id }) => id));
  for (const [id, address] of known)
    if (!ids.has(id)) return `${address} was forgotten by the Cluster, so nothing shows that it lost no lock`;
  const now = named.reduce((latest, { heardAt }) => Math.max(latest, heardAt), 0);
  const present = named.filter((node) => !isLongDead(node, now - doubtTime));
  const masters = new Set(present.filter(({ isMaster }) => isMaster).map(({ id }) => id));
  const replicas = new Map<string, number>();
  for (const { isMaster, masterId, identity } of present) {
    if (isMaster) continue;
    // This replica may have been a master with slots until a moment ago.
    if (masterId === undefined || !masters.has(masterId)) return `${identity} follows no master`;
    replicas.set(masterId, (replicas.get(masterId) ?? 0) + 1);
  }
  for (const node of present) {
    const doubt = node.isMaster
      ? doubtAbout(node, replicas.get(node.id) ?? 0, evidence.get(node.id), allowNoReplicas)
      : undefined;
    if (doubt !== undefined) return `${node.identity} ${doubt}`;
  }
  return undefined;
}

/**
 * The Cluster has not heard the server for so long that no lock in the server's slots can still be
 * believed in.
 */
function isLongDead({ isFailed, heardAt }: ClusterNode, since: number): boolean {
  return isFailed && heardAt > 0 && heardAt < since;
}

function doubtAbout(
  { epoch, slots, isSuspected }: ClusterNode,
  replicas: number,
  evidence: MasterEvidence | undefined,
  allowNoReplicas: boolean,
): string | undefined {
  if (isSuspected) return 'is not heard by the others';
  // A master that joins gets an epoch with the first slot. In a Cluster that was made by hand, a
  // master may serve slots without an epoch, but hardly without a replica.
  if (slots.length === 0 && epoch === 0 && replicas === 0 && (evidence?.replicas ?? 0) === 0)
    return undefined;
  if (evidence === undefined) return 'cannot be asked, or is no master any more';
  if (replicas === 0 && evidence.replicas === 0)
    return allowNoReplicas
      ? undefined
      : 'has no replica, so nothing shows that it lost no lock: attach it to a master, attach a replica to it, or forget it';
  if (evidence.replicas < replicas)
    return `has ${replicas} replicas, and only ${evidence.replicas} of them follow it`;
  return evidence.allLinksOld ? undefined : 'has a replica that has followed it for less than a quarantine';
}
