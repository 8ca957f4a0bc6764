import { systemClock } from '../../common/clock.js';
import { connecting } from '../../store/redis/connection/connecting.js';
import { ask, type Connection, type Connector } from '../../store/redis/connection/connection.js';
import {
  infoField,
  parseReplicationInfo,
  replicasIn,
  type ReplicationInfo,
} from '../../store/redis/replication/replication-info.js';
import { ErrorReply, type Address, type Command, type Reply } from '../../store/redis/resp.js';
import { serverTimeOf } from '../../store/redis/scripts/permits.js';
import { missingIn, rightsFor, SUBSCRIBE, type Missing } from './rights.js';

/** What one server told. */
export interface ServerFacts {
  readonly address: Address;
  /** `INFO server`, `memory` and `persistence`, for `infoField`. */
  readonly info: Reply;
  /** Undefined if the server hides the fields. */
  readonly replication: ReplicationInfo | undefined;
  /** `INFO replication`, for fields that the library does not read. */
  readonly replicationText: Reply;
  /** `CLIENT LIST TYPE replica`. */
  readonly links: Reply;
  /** The settings that the user may read. */
  readonly config: ReadonlyMap<string, string>;
  /** Undefined if the user may not ask for the name. */
  readonly user: string | undefined;
  readonly missing: readonly Missing[];
  readonly clock: ServerClock;
  /** How the replicas confirmed a write. Undefined: nothing was written. */
  readonly confirmation: Confirmation | undefined;
  /** Why the master refused the write. */
  readonly refusal: ErrorReply | undefined;
}

export interface ServerClock {
  /** ms by which the server's clock is ahead of the clock of this process. */
  readonly offset: number;
  /** ms, the least of some: the offset is known to half of this. */
  readonly roundTrip: number;
}

export interface Confirmation {
  readonly replicas: number;
  /** ms */
  readonly time: number;
}

/** How the facts of a server are asked for. */
export interface Examination {
  readonly connector: Connector;
  readonly address: Address;
  readonly isMaster: boolean;
  readonly inCluster: boolean;
  /** A key that is free. In a Cluster the server's own. */
  readonly scratchKey: string;
}

const SETTINGS = [
  'save',
  'appendfsync',
  'min-replicas-to-write',
  'repl-timeout',
  'cluster-node-timeout',
  'cluster-require-full-coverage',
  'cluster-allow-replica-migration',
];

/** How often the time is asked for: the shortest round trip tells the offset best. */
const TIMES = 5;

/** ms for which the replicas may confirm the scratch write. */
const CONFIRM_TIME = 1_000;

/**
 * Connects to one server and asks what a doctor needs to know. Writes nothing but the scratch key,
 * which ends by itself. Rejects with the reason if the server cannot be asked.
 */
export async function examine(examination: Examination): Promise<ServerFacts> {
  const { connector, address } = examination;
  const end = new AbortController();
  const made: Connection[] = [];
  try {
    return await connecting(connector, address, systemClock, end.signal, async (connect) => {
      made.push(await connect('doctor'), await connect('doctor'));
      return factsFrom(made[0]!, made[1]!, examination);
    });
  } finally {
    for (const connection of made) connection.close();
  }
}

async function factsFrom(
  connection: Connection,
  other: Connection,
  { address, isMaster, inCluster, scratchKey }: Examination,
): Promise<ServerFacts> {
  const clock = await clockOf(connection);
  const [server, replicationText, memory, persistence, links, whoAmI, ...settings] = await ask(connection, [
    ['info', 'server'],
    ['info', 'replication'],
    ['info', 'memory'],
    ['info', 'persistence'],
    ['client', 'list', 'type', 'replica'],
    ['acl', 'whoami'],
    ...SETTINGS.map((name): Command => ['config', 'get', name]),
  ]);
  const replication = parseReplicationInfo(replicationText);
  const replicas = replication === undefined ? 0 : replicasIn(replication).length;
  const written = isMaster ? await confirmationOf(connection, scratchKey, replicas) : undefined;
  const missing = await missingOn(connection, other, inCluster, scratchKey);
  return {
    address,
    info: [server, memory, persistence].filter((text) => typeof text === 'string').join('\r\n'),
    replication,
    replicationText: replicationText!,
    links: links!,
    config: new Map(
      settings.flatMap((reply) =>
        Array.isArray(reply) && reply.length === 2 ? [reply as [string, string]] : [],
      ),
    ),
    user: typeof whoAmI === 'string' ? whoAmI : undefined,
    missing,
    clock,
    confirmation: written instanceof ErrorReply ? undefined : written,
    refusal: written instanceof ErrorReply ? written : undefined,
  };
}

async function clockOf(connection: Connection): Promise<ServerClock> {
  let best: ServerClock = { offset: NaN, roundTrip: Infinity };
  for (let i = 0; i < TIMES; i++) {
    const start = systemClock.monotonic();
    const [time] = await ask(connection, [['time']]);
    const roundTrip = systemClock.monotonic() - start;
    if (roundTrip < best.roundTrip)
      best = { offset: serverTimeOf(time) - (systemClock.wall() - roundTrip / 2), roundTrip };
  }
  return best;
}

async function confirmationOf(
  connection: Connection,
  key: string,
  replicas: number,
): Promise<Confirmation | ErrorReply | undefined> {
  const start = systemClock.monotonic();
  const [written, confirmed] = await ask(connection, [
    ['set', key, 'doctor', 'px', 10_000],
    ['wait', replicas, CONFIRM_TIME],
  ]);
  if (written instanceof ErrorReply) return written;
  if (typeof confirmed !== 'number') return undefined;
  return { replicas: confirmed, time: systemClock.monotonic() - start };
}

async function missingOn(
  connection: Connection,
  other: Connection,
  inCluster: boolean,
  key: string,
): Promise<Missing[]> {
  const rights = rightsFor(inCluster);
  const replies = await ask(
    connection,
    rights.map(({ command }) => command(key)),
  );
  const missing = rights.flatMap((right, index) => missingIn(right, replies[index]) ?? []);
  try {
    await other.subscribe('__redis__:invalidate', () => {});
    return missing;
  } catch (error) {
    if (!(error instanceof ErrorReply)) throw error;
    const lacking = missingIn(SUBSCRIBE, error);
    return lacking === undefined ? missing : [...missing, lacking];
  }
}

export const UNKNOWN_VERSION = 'of unknown version';

/** `Redis 7.0.15`, `Valkey 8.1.1`. */
export function productOf(info: Reply): { readonly name: string; readonly version: string } {
  const valkey = infoField(info, 'valkey_version');
  if (valkey !== undefined) return { name: 'Valkey', version: valkey };
  return { name: 'Redis', version: infoField(info, 'redis_version') ?? UNKNOWN_VERSION };
}
