import { MODULE_OPTIONS } from '../../module/options.js';
import { addressWarnings } from '../../store/redis/replication/address-warnings.js';
import {
  infoField,
  parseReplicaClients,
  replicasIn,
  type ReplicationInfo,
} from '../../store/redis/replication/replication-info.js';
import { addressText } from '../../store/redis/resp.js';
import { count, ok, problem, warning, type Finding } from './finding.js';
import { timeText } from './server-findings.js';
import type { ServerFacts } from './server-facts.js';

/** s. A healthy replica acknowledges every second. */
const LONGEST_SILENCE = 2;
/** ms: the default of the options `leaseTime` and `quarantine`. */
export const LEASE_TIME = MODULE_OPTIONS.leaseTime.default;
/** s: the default of Redis. */
const LONGEST_REPL_TIMEOUT = 60;

export type MasterFacts = Pick<
  ServerFacts,
  'address' | 'replication' | 'links' | 'config' | 'confirmation' | 'replicationText'
>;

/** What concerns a master and the replicas that it lists. */
export function replicationFindings(facts: MasterFacts, inCluster: boolean): Finding[] {
  const { replication } = facts;
  if (replication === undefined)
    return [
      problem(
        'replicas',
        'The server hides INFO replication, without which no confirmation can be told: locks are refused.',
        'Use a server that shows the fields role, master_replid and master_repl_offset.',
      ),
    ];
  return [
    numberFinding(replication),
    ...replication.lines.flatMap((line) => lineFindings(line)),
    ...sharedAddressFindings(facts, inCluster),
    ...linkAgeFindings(facts),
    ...confirmationFindings(facts),
    ...settingFindings(facts),
  ];
}

export function numberFinding(replication: ReplicationInfo): Finding {
  const replicas = replicasIn(replication);
  const names = replicas.map(({ address }) => address).join(', ');
  if (replicas.length === 0)
    return problem(
      'replicas',
      'The master has no replica: new locks are refused, because a crash would lose them.',
      'Attach two replicas. For development, allowNoReplicas: true permits a server without.',
    );
  const text = `${count(replicas.length, 'replica')}: ${names}.`;
  if (replicas.length === 1)
    return warning(
      'replicas',
      text,
      'Attach a second replica: after a fail-over a single replica is a master without replicas, which grants nothing.',
    );
  if (replicas.length % 2 === 1)
    return warning(
      'replicas',
      text,
      `Use an even number: of ${replicas.length + 1} servers, neither half is a majority if the network splits in the middle.`,
    );
  return ok('replicas', text);
}

function lineFindings({ address, online, silence, isReplica }: ReplicationInfo['lines'][number]): Finding[] {
  if (!isReplica) return [];
  if (!online)
    return [
      problem(
        'replica-state',
        `Replica ${address} is not online: it still receives the data, or is stuck.`,
        'Wait for the end of the synchronization, and see the log of the replica.',
      ),
    ];
  if (silence <= LONGEST_SILENCE) return [];
  return [
    problem(
      'replica-state',
      `Replica ${address} has acknowledged nothing for ${silence} s: with replicas: 'all' new locks are refused.`,
      'See whether the replica hangs or the network loses packets. Restart the replica, or remove it.',
    ),
  ];
}

function sharedAddressFindings({ address, replication }: MasterFacts, inCluster: boolean): Finding[] {
  const addresses = replicasIn(replication!).map((line) => line.address);
  const shared = [...new Set(addresses.filter((each, index) => addresses.indexOf(each) !== index))];
  return addressFindings(`Redis at ${addressText(address)}`, inCluster, shared, []);
}

/** Faults of addresses, in the words that the application's log has for them. */
export function addressFindings(
  where: string,
  inCluster: boolean,
  shared: readonly string[],
  strangers: readonly string[],
): Finding[] {
  const oddity = strangers.length > 0 ? { aliases: new Map<string, string>(), strangers } : undefined;
  return addressWarnings(where, inCluster, shared, oddity).map(({ message }) => {
    const [text, ...advice] = message.split(/(?<=\.) (?=Set replica-announce)/);
    return problem('addresses', text!, advice.join(' '));
  });
}

function linkAgeFindings({ links, replication }: MasterFacts): Finding[] {
  if (replicasIn(replication!).length === 0 || typeof links !== 'string') return [];
  const youngest = Math.min(...parseReplicaClients(links).map(({ age }) => age));
  if (youngest * 1_000 >= LEASE_TIME) return [];
  return [
    warning(
      'links',
      `A replication link is only ${youngest} s old: until it is as old as the quarantine (default 15 s), new locks may be refused.`,
      'Wait. If this happens again and again, see in the logs why replicas reconnect.',
    ),
  ];
}

function confirmationFindings({ confirmation, replication }: MasterFacts): Finding[] {
  const replicas = replicasIn(replication!).length;
  if (confirmation === undefined || replicas === 0) return [];
  const { replicas: confirmed, time } = confirmation;
  const text = `A write was confirmed by ${confirmed} of ${replicas} replicas after ${timeText(time)}.`;
  if (confirmed >= replicas) return [ok('confirmation', text)];
  return [
    problem(
      'confirmation',
      text,
      confirmed >= Math.ceil(replicas / 2)
        ? "Restore the missing replicas: until then locks are granted only with replicas: 'majority'."
        : 'Restore the missing replicas: no lock is granted without a majority.',
    ),
  ];
}

export function settingFindings({ config, replication, replicationText }: MasterFacts): Finding[] {
  const replicas = replicasIn(replication!).length;
  const findings: Finding[] = [];
  const least = config.get('min-replicas-to-write');
  if (least !== undefined && Number(least) > 0) {
    const good = Number(infoField(replicationText, 'min_slaves_good_slaves') ?? replicas);
    const text = `min-replicas-to-write is ${least}, and ${count(good, 'replica')} would do.`;
    findings.push(
      Number(least) > good
        ? problem(
            'min-replicas',
            text,
            'The master refuses every write: restore replicas, or lower the setting.',
          )
        : Number(least) >= replicas
          ? warning(
              'min-replicas',
              text,
              'One missing replica stops every write: set it to less than the number of replicas, usually 1.',
            )
          : ok('min-replicas', text),
    );
  } else if (least !== undefined)
    findings.push(
      warning(
        'min-replicas',
        'min-replicas-to-write is 0: a master that is cut off goes on taking writes. Locks do not need the setting, but other data is lost then.',
        'Set min-replicas-to-write 1 and min-replicas-max-lag 10.',
      ),
    );
  const replTimeout = Number(config.get('repl-timeout') ?? 0);
  if (replTimeout > LONGEST_REPL_TIMEOUT)
    findings.push(
      warning(
        'repl-timeout',
        `repl-timeout is ${replTimeout} s: for so long a replica that hangs counts as connected, and stops new locks with replicas: 'all'.`,
        'Set repl-timeout to 60 or less.',
      ),
    );
  return findings;
}
