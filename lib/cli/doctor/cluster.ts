import type { ClusterNode } from '../../store/redis/cluster/cluster-nodes.js';
import { SLOTS } from '../../store/redis/cluster/hash-slot.js';
import { ok, problem, warning, type Finding } from './finding.js';
import { LEASE_TIME } from './replication-findings.js';
import type { ServerFacts } from './server-facts.js';

/** The masters that serve slots. */
export function mastersIn(nodes: readonly ClusterNode[]): ClusterNode[] {
  return nodes.filter(({ isMaster, slots }) => isMaster && slots.length > 0);
}

/** What concerns the Cluster as a whole, as one of its servers sees it. */
export function clusterFindings(nodes: readonly ClusterNode[]): Finding[] {
  const masters = mastersIn(nodes);
  const served = masters.reduce(
    (sum, { slots }) => sum + slots.reduce((part, [from, to]) => part + to - from + 1, 0),
    0,
  );
  const findings = [
    served === SLOTS
      ? ok('slots', `${masters.length} masters serve all ${SLOTS} slots.`)
      : problem(
          'slots',
          `${SLOTS - served} of ${SLOTS} slots have no master: locks in these slots are refused.`,
          'Assign the slots, for example with redis-cli --cluster fix.',
        ),
  ];
  for (const { identity, isFailed, isSuspected, isMaster } of nodes)
    if (isFailed || isSuspected)
      findings.push(
        problem(
          'nodes',
          `The ${isMaster ? 'master' : 'replica'} ${identity} is ${isFailed ? 'dead' : 'suspected to be dead'} in the view of the Cluster.`,
          'Restore the server. If it is gone for good, remove it with CLUSTER FORGET on every server.',
        ),
      );
  return findings;
}

/** The settings of one server of the Cluster. */
export function clusterSettings({ config }: Pick<ServerFacts, 'config'>): Finding[] {
  const findings: Finding[] = [];
  const timeout = Number(config.get('cluster-node-timeout') ?? 0);
  if (timeout >= LEASE_TIME / 3)
    findings.push(
      warning(
        'cluster-node-timeout',
        `cluster-node-timeout is ${timeout} ms: a fail-over takes about two seconds more, and a lease of 15 s may end before that.`,
        'Set less than a third of leaseTime, for example 4000.',
      ),
    );
  else if (timeout > 0) findings.push(ok('cluster-node-timeout', `cluster-node-timeout is ${timeout} ms.`));
  if (config.get('cluster-require-full-coverage') === 'yes')
    findings.push(
      warning(
        'full-coverage',
        'cluster-require-full-coverage is yes: one slot without a master stops all locks.',
        'Set cluster-require-full-coverage no.',
      ),
    );
  if (config.get('cluster-allow-replica-migration') === 'yes')
    findings.push(
      warning(
        'replica-migration',
        'cluster-allow-replica-migration is yes: the Cluster may take the spare replica of a shard away.',
        'Set cluster-allow-replica-migration no.',
      ),
    );
  return findings;
}
