import { randomUUID } from 'node:crypto';
import { systemClock } from '../../common/clock.js';
import { parseClusterNodes, type ClusterNode } from '../../store/redis/cluster/cluster-nodes.js';
import { hashSlot, hasSlot } from '../../store/redis/cluster/hash-slot.js';
import { connecting } from '../../store/redis/connection/connecting.js';
import { ask, type Connector } from '../../store/redis/connection/connection.js';
import {
  sentinelOptionsOf,
  translated,
  type ConnectionSettings,
} from '../../store/redis/connection/connection-settings.js';
import { messageOf, RefusedError, refusedBy } from '../../store/redis/connection/error-replies.js';
import { IoredisConnector } from '../../store/redis/connection/ioredis-connector.js';
import { listedAddresses } from '../../store/redis/replication/replication-info.js';
import { addressText, ErrorReply, type Address } from '../../store/redis/resp.js';
import { clockFindings } from './clocks.js';
import { clusterFindings, mastersIn } from './cluster.js';
import { problem, warning, type Finding, type Section } from './finding.js';
import { masterFindings, namedReplicaFindings, priorityFindings, replicaFindings } from './server-reports.js';
import { askSentinel, sentinelFindings } from './sentinel.js';
import { examine, type ServerFacts } from './server-facts.js';

/** What the doctor found. */
export interface Diagnosis {
  readonly sections: readonly Section[];
  /** At least one master could be asked. */
  readonly isReached: boolean;
}

/** ms that examining a server may take, unless the connection says otherwise. */
const EXAMINE_TIME = 5_000;

type Examined = { readonly address: Address } & (
  | { readonly kind: 'facts'; readonly facts: ServerFacts }
  | { readonly kind: 'silent'; readonly reason: string }
);

type Settings<K extends ConnectionSettings['kind']> = Extract<ConnectionSettings, { kind: K }>;

/** Looks at every server that has to do with the locks, and writes nothing but scratch keys. */
export async function diagnose(settings: ConnectionSettings, keyPrefix: string): Promise<Diagnosis> {
  const connector = connectorFor(settings.options);
  if (settings.kind === 'cluster') return new Doctor(connector, keyPrefix, true).ofCluster(settings);
  const doctor = new Doctor(connector, keyPrefix, false);
  return settings.kind === 'plain' ? doctor.ofPlain(settings) : doctor.ofSentinel(settings);
}

function connectorFor(options: ConnectionSettings['options']): Connector {
  return new IoredisConnector({ ...options, connectTimeout: options.connectTimeout ?? EXAMINE_TIME });
}

/** Examines the servers of one deployment. */
class Doctor {
  constructor(
    private readonly connector: Connector,
    private readonly keyPrefix: string,
    private readonly inCluster: boolean,
  ) {}

  async ofPlain({ address }: Settings<'plain'>): Promise<Diagnosis> {
    const master = await this.examine(address, true);
    const { sections, all } = await this.ofShard(master, (facts) => addressesIn(facts), 'warning');
    return diagnosisOf([...sections, ...clockSections(all)], all);
  }

  async ofSentinel({ sentinels, name, options }: Settings<'sentinel'>): Promise<Diagnosis> {
    const sentinelConnector = connectorFor(sentinelOptionsOf(options));
    const asked = await Promise.all(
      sentinels.map((address) =>
        askSentinel(sentinelConnector, address, name).catch((error: unknown) => ({
          address: addressText(address),
          reason: reasonOf(address, error),
        })),
      ),
    );
    const views = asked.filter((each) => 'master' in each);
    const silent = asked.filter((each) => 'reason' in each);
    const about: Section = { title: `Sentinels of ${name}`, findings: sentinelFindings(views, silent) };
    const [view] = views;
    if (view === undefined) return { sections: [about], isReached: false };
    const named = new Set(views.flatMap(({ replicas }) => replicas));
    named.delete(view.master);
    const reach = (address: string): Address => translated(address, options.natMap);
    const master = await this.examine(reach(view.master), true);
    const replicas = (facts: ServerFacts | undefined): Address[] =>
      [...new Set([...named, ...listedBy(facts)])].map(reach);
    const { sections, all } = await this.ofShard(master, replicas, 'problem', named);
    return diagnosisOf([about, ...sections, ...clockSections(all)], all);
  }

  async ofCluster({ seeds, natMap }: Settings<'cluster'>): Promise<Diagnosis> {
    const reasons: [Address, string][] = [];
    let nodes: readonly ClusterNode[] | undefined;
    for (const seed of seeds) {
      if (nodes !== undefined) break;
      try {
        nodes = await this.nodesAt(seed);
      } catch (error) {
        reasons.push([seed, reasonOf(seed, error)]);
      }
    }
    const silent = reasons.map(([seed, reason]) =>
      unreachable(
        seed,
        reason,
        nodes === undefined ? 'problem' : 'warning',
        'Check the address, the network, TLS and the user. Of a server without Redis Cluster, give --url.',
      ),
    );
    if (nodes === undefined)
      return { sections: [{ title: 'Redis Cluster', findings: silent }], isReached: false };
    const sections: Section[] = [
      { title: 'Redis Cluster', findings: [...silent, ...clusterFindings(nodes)] },
    ];
    const reach = ({ identity }: ClusterNode): Address => translated(identity, natMap);
    const masters = mastersIn(nodes);
    const shards = await Promise.all(
      masters.map(async (node) => {
        const replicas = nodes.filter(({ masterId }) => masterId === node.id);
        const master = await this.examine(reach(node), true, node.slots);
        return this.ofShard(
          master,
          () => replicas.map(reach),
          'problem',
          new Set(replicas.map(({ identity }) => identity)),
          node.slots,
        );
      }),
    );
    const all = shards.flatMap((shard) => shard.all);
    return diagnosisOf(
      [...sections, ...shards.flatMap((shard) => shard.sections), ...clockSections(all)],
      all,
    );
  }

  /** A master and its replicas. `named`: the replicas that Sentinel or the Cluster names. */
  private async ofShard(
    master: Examined,
    replicasOf: (facts: ServerFacts | undefined) => Address[],
    ifSilent: 'warning' | 'problem',
    named?: ReadonlySet<string>,
    slots?: ClusterNode['slots'],
  ): Promise<{ sections: Section[]; all: readonly (Examined & { readonly isMaster: boolean })[] }> {
    const facts = master.kind === 'facts' ? master.facts : undefined;
    const replicas = await Promise.all(
      replicasOf(facts).map((address) => this.examine(address, false, slots)),
    );
    const seen = replicas.flatMap((each) => (each.kind === 'facts' ? [each.facts] : []));
    const own =
      master.kind === 'silent'
        ? [unreachable(master.address, master.reason, 'problem')]
        : [
            ...masterFindings(master.facts, this.inCluster, this.keyPrefix),
            ...(named === undefined ? [] : namedReplicaFindings(master.facts, named, this.inCluster)),
            ...priorityFindings(seen),
          ];
    const sections = [
      { title: `Master ${addressText(master.address)}`, findings: own },
      ...replicas.map((each) => ({
        title: `Replica ${addressText(each.address)}`,
        findings:
          each.kind === 'facts'
            ? replicaFindings(each.facts, this.keyPrefix)
            : [unreachable(each.address, each.reason, ifSilent)],
      })),
    ];
    const all = [{ ...master, isMaster: true }, ...replicas.map((each) => ({ ...each, isMaster: false }))];
    return { sections, all };
  }

  private async examine(
    address: Address,
    isMaster: boolean,
    slots?: ClusterNode['slots'],
  ): Promise<Examined> {
    const { connector, inCluster } = this;
    try {
      const scratchKey = scratchKeyIn(this.keyPrefix, slots);
      return {
        kind: 'facts',
        address,
        facts: await examine({ connector, address, isMaster, inCluster, scratchKey }),
      };
    } catch (error) {
      return { kind: 'silent', address, reason: reasonOf(address, error) };
    }
  }

  private nodesAt(seed: Address): Promise<readonly ClusterNode[]> {
    return connecting(this.connector, seed, systemClock, new AbortController().signal, async (connect) => {
      const connection = await connect('doctor');
      const [reply] = await ask(connection, [['cluster', 'nodes']]);
      if (reply instanceof ErrorReply) throw new RefusedError(seed, reply);
      const view = parseClusterNodes(reply, seed);
      connection.close();
      if (view === undefined) throw new Error('its answer to CLUSTER NODES cannot be read');
      return view.nodes;
    });
  }
}

/** A free key, with a slot in one of these ranges. */
function scratchKeyIn(keyPrefix: string, slots: ClusterNode['slots'] | undefined): string {
  const stem = `${keyPrefix}nestjs-replica-lock:doctor:${randomUUID()}`;
  if (slots === undefined) return stem;
  // A prefix with a hash tag has one slot, which may belong to another master.
  for (let i = 0; i < 200_000; i++) {
    const key = `${stem}:${i}`;
    if (hasSlot(slots, hashSlot(key))) return key;
  }
  return stem;
}

function addressesIn(facts: ServerFacts | undefined): Address[] {
  const addresses = facts?.replication?.role === 'master' ? listedBy(facts) : [];
  return [...addresses].map((address) => translated(address, undefined));
}

/** `ip:port` of the replicas that the server lists. */
function listedBy(facts: ServerFacts | undefined): ReadonlySet<string> {
  return facts?.replication === undefined ? new Set() : listedAddresses(facts.replication);
}

function diagnosisOf(
  sections: readonly Section[],
  all: readonly (Examined & { readonly isMaster: boolean })[],
): Diagnosis {
  return { sections, isReached: all.some(({ kind, isMaster }) => isMaster && kind === 'facts') };
}

function clockSections(all: readonly Examined[]): Section[] {
  const findings = clockFindings(all.flatMap((each) => (each.kind === 'facts' ? [each.facts] : [])));
  return findings.length === 0 ? [] : [{ title: 'Clocks', findings }];
}

const MUST_BE_REACHED =
  'The next master must be reached by every application, with the same credentials: check address, network, TLS and user.';

function unreachable(
  address: Address,
  reason: string,
  level: 'warning' | 'problem',
  advice = MUST_BE_REACHED,
): Finding {
  const make = level === 'problem' ? problem : warning;
  return make('connection', `Redis at ${addressText(address)} cannot be asked from here: ${reason}.`, advice);
}

/** Why a server could not be asked, as a part of a sentence. */
function reasonOf(address: Address, error: unknown): string {
  if (!(error instanceof RefusedError)) return messageOf(error);
  return refusedBy(address, error.reply)
    .reason.replace(/^.*? refused: /, 'it refused: ')
    .replace(/\.$/, '');
}
