import type { ClusterNode } from './cluster-nodes.js';

/** What a master showed of itself when it was looked at. */
export interface MasterEvidence {
  /** How many replicas acknowledge its stream. */
  readonly replicas: number;
  /** Every link of a replica that it lists has stood for a whole quarantine. */
  readonly areOld: boolean;
}

export interface LossSettings {
  /** ms after which a slot is trusted, whatever may have happened to it: see `slot-trust.ts`. */
  readonly doubtTime: number;
  readonly allowNoReplicas: boolean;
}

/**
 * Why one of the servers may have lost a lock within the last quarantine while it served slots, in
 * words; undefined if none can have. `named` are all servers as one master names them, `known`
 * those (by id, with their addresses) that anybody has named lately, `evidence` what the masters
 * showed since: none of one that did not answer, or is no master any more.
 */
export function mayHaveLost(
  named: readonly ClusterNode[],
  known: ReadonlyMap<string, string>,
  evidence: ReadonlyMap<string, MasterEvidence>,
  { doubtTime, allowNoReplicas }: LossSettings,
): string | undefined {
  const ids = new Set(named.map(({ id }) => id));
  for (const [id, address] of known)
    if (!ids.has(id)) return `${address} was forgotten by the Cluster, so it can show nothing`;
  const now = named.reduce((latest, { heardAt }) => Math.max(latest, heardAt), 0);
  const present = named.filter((node) => !isLongDead(node, now - doubtTime));
  const masters = new Set(present.filter(({ isMaster }) => isMaster).map(({ id }) => id));
  const replicas = new Map<string, number>();
  for (const { isMaster, masterId, identity } of present) {
    if (isMaster) continue;
    // It may have been a master itself, with slots, until a moment ago.
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
 * The Cluster has not heard it for so long that no lock of a slot that it served can be believed
 * in.
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
  // A master that joins gets an epoch with its first slot. In a Cluster that was made by hand one
  // may serve slots without an epoch, but hardly without a replica.
  if (slots.length === 0 && epoch === 0 && replicas === 0 && (evidence?.replicas ?? 0) === 0)
    return undefined;
  if (evidence === undefined) return 'cannot be asked, or is no master any more';
  if (replicas === 0 && evidence.replicas === 0)
    return allowNoReplicas
      ? undefined
      : 'has no replica, so it can show nothing: attach it, or a replica to it, or forget it';
  if (evidence.replicas < replicas)
    return `has ${replicas} replicas, of which ${evidence.replicas} follow it`;
  return evidence.areOld ? undefined : 'has a replica that has followed it for less than a quarantine';
}
