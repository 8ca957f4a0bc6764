import { NEEDS_NODES, NEEDS_SENTINELS, NoMasterError } from '../../store/redis/connection/open-session.js';
import { refusedBy } from '../../store/redis/connection/error-replies.js';
import { infoField, listedAddresses } from '../../store/redis/replication/replication-info.js';
import { addressText, ErrorReply } from '../../store/redis/resp.js';
import { clusterSettings } from './cluster.js';
import { ok, problem, warning, type Finding } from './finding.js';
import { addressFindings, replicationFindings } from './replication-findings.js';
import { rightsFindings } from './rights.js';
import { persistenceFinding, serverFindings, versionFinding } from './server-findings.js';
import type { ServerFacts } from './server-facts.js';

/** What is to be said of a server that should be a master. */
export function masterFindings(facts: ServerFacts, inCluster: boolean, keyPrefix: string): Finding[] {
  const misplaced = placeFinding(facts, inCluster);
  if (misplaced !== undefined) return [versionFinding(facts), misplaced];
  return [
    ...serverFindings(facts),
    ...replicationFindings(facts, inCluster),
    ...writeFindings(facts),
    persistenceFinding(facts),
    ...rightsFindings(facts.missing, facts.user, keyPrefix),
    ...(inCluster ? clusterSettings(facts) : []),
  ];
}

/** What is to be said of a replica, which may be the next master. */
export function replicaFindings(facts: ServerFacts, keyPrefix: string): Finding[] {
  return [
    ...serverFindings(facts),
    linkFinding(facts),
    persistenceFinding(facts),
    ...rightsFindings(facts.missing, facts.user, keyPrefix),
  ];
}

/** The connection leads to the wrong kind of server; undefined if the kind is right. */
export function placeFinding(
  { info, replication }: Pick<ServerFacts, 'info' | 'replication'>,
  inCluster: boolean,
): Finding | undefined {
  const mode = infoField(info, 'redis_mode') ?? infoField(info, 'server_mode');
  if (mode === 'sentinel')
    return problem('mode', sentence(NEEDS_SENTINELS), 'Here: --sentinel <host:port,...> --master <name>.');
  if (mode === 'cluster' && !inCluster)
    return problem('mode', sentence(NEEDS_NODES), 'Here: --nodes <host:port,...>.');
  if (replication !== undefined && replication.role !== 'master')
    return problem(
      'role',
      sentence(new NoMasterError().message),
      'Give the address of the master, or the Sentinels.',
    );
  return undefined;
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}

/** Why the server refused the scratch write, apart from missing rights and other masters' slots. */
export function writeFindings({ address, refusal }: Pick<ServerFacts, 'address' | 'refusal'>): Finding[] {
  if (!(refusal instanceof ErrorReply) || ['NOPERM', 'MOVED', 'ASK'].includes(refusal.code)) return [];
  const [text, ...advice] = refusedBy(address, refusal).reason.split(/(?<=\.) (?=[A-Z])/);
  return [problem('write', text!, advice.join(' '))];
}

/** The replica's own word on the link to its master. */
export function linkFinding({ replicationText }: Pick<ServerFacts, 'replicationText'>): Finding {
  const status = infoField(replicationText, 'master_link_status');
  const host = infoField(replicationText, 'master_host');
  const port = infoField(replicationText, 'master_port');
  if (status === 'up') return ok('link', `The link to the master ${host}:${port} is up.`);
  if (status === undefined)
    return problem('link', 'The server does not say that it follows a master.', 'Attach it with REPLICAOF.');
  const since = infoField(replicationText, 'master_link_down_since_seconds');
  return problem(
    'link',
    `The link to the master ${host}:${port} is ${status}${since === undefined ? '' : ` for ${since} s`}.`,
    'See the log of the replica: address, password (masterauth), TLS (tls-replication) or network.',
  );
}

/** Replicas that Sentinel or the Cluster names, and those that the master lists. */
export function namedReplicaFindings(
  { address, replication }: Pick<ServerFacts, 'address' | 'replication'>,
  named: ReadonlySet<string>,
  inCluster: boolean,
): Finding[] {
  if (replication === undefined) return [];
  const listed = listedAddresses(replication);
  const namers = inCluster ? 'the Redis Cluster' : 'Sentinel';
  const strangers = [...listed].filter((each) => !named.has(each));
  const absent = [...named].filter((each) => !listed.has(each));
  const findings = addressFindings(`Redis at ${addressText(address)}`, inCluster, [], strangers);
  // Of a server that has two addresses, each side knows one.
  for (const each of strangers.length > 0 ? [] : absent)
    findings.push(
      problem(
        'replica-state',
        `The replica ${each}, which ${namers} names, does not follow the master: with replicas: 'all' new locks are refused.`,
        inCluster
          ? 'Restore the replica. If it is gone for good, remove it with CLUSTER FORGET on every server.'
          : 'Restore the replica. If it is gone for good, SENTINEL RESET on every Sentinel, one after the other.',
      ),
    );
  return findings;
}

/** A preferred replica is promoted even if it is behind. */
export function priorityFindings(
  replicas: readonly Pick<ServerFacts, 'replicationText' | 'address'>[],
): Finding[] {
  const priorities = replicas.map(({ address, replicationText }) => ({
    address: addressText(address),
    priority: infoField(replicationText, 'slave_priority'),
  }));
  if (new Set(priorities.map(({ priority }) => priority)).size < 2) return [];
  const list = priorities.map(({ address, priority }) => `${address} has ${priority}`).join(', ');
  return [
    warning(
      'replica-priority',
      `The replicas differ in replica-priority: ${list}. The preferred one is promoted even if it is behind, and locks that it lacks are lost.`,
      'Set the same replica-priority on all of them.',
    ),
  ];
}
