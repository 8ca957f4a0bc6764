import type { Reply } from '../resp.js';

/** What `INFO replication` of one server says. */
export interface ReplicationInfo {
  readonly role: string;
  readonly replid: string;
  /** The master's replication offset. */
  readonly offset: number;
  /**
   * One entry for each line. A replica can have two lines for a while: of a dead link and of the
   * new link.
   */
  readonly lines: readonly ReplicaLine[];
}

export interface ReplicaLine {
  /** The announced `ip:port`: the identity of the replica. */
  readonly address: string;
  readonly online: boolean;
  /** The replication offset that the replica has acknowledged. */
  readonly offset: number;
  /**
   * s since the replica last acknowledged anything. A healthy replica acknowledges every second.
   */
  readonly silence: number;
  /** False for a client that only reads the stream (`redis-cli --rdb`), which announces port 0. */
  readonly isReplica: boolean;
}

const REPLICA_LINE = /\nslave\d+:ip=([^,]*),port=(\d+),state=([^,]*),offset=(\d+)(?:,lag=(\d+))?/g;

/**
 * Reads the reply; undefined if the server refused the command, or if a hosting service hides the
 * fields. Each group asks twice, so this searches for single fields instead of splitting the
 * text.
 */
export function parseReplicationInfo(reply: Reply | undefined): ReplicationInfo | undefined {
  const role = infoField(reply, 'role');
  const replid = infoField(reply, 'master_replid');
  const offset = infoField(reply, 'master_repl_offset');
  if (role === undefined || replid === undefined || offset === undefined) return undefined;
  const lines: ReplicaLine[] = [];
  for (const [, ip, port, state, acknowledged, lag] of String(reply).matchAll(REPLICA_LINE)) {
    lines.push({
      address: `${ip}:${port}`,
      online: state === 'online',
      offset: Number(acknowledged),
      silence: Number(lag ?? 0),
      isReplica: port !== '0',
    });
  }
  return { role, replid, offset: Number(offset), lines };
}

/** The lines of replicas, online or not. */
export function replicasIn({ lines }: Pick<ReplicationInfo, 'lines'>): readonly ReplicaLine[] {
  return lines.filter(({ isReplica }) => isReplica);
}

/** The addresses of all replicas in the list, online or not, each once. */
export function listedAddresses(info: ReplicationInfo): Set<string> {
  return new Set(replicasIn(info).map(({ address }) => address));
}

/** How many lines belong to replicas that still receive the file of a full sync. */
export function syncingLinks(info: ReplicationInfo): number {
  return info.lines.filter(({ online }) => !online).length;
}

/** One field of an INFO reply; undefined if the reply lacks the field. */
export function infoField(reply: Reply | undefined, name: string): string | undefined {
  if (typeof reply !== 'string') return undefined;
  const start = reply.indexOf(`\n${name}:`);
  if (start < 0) return undefined;
  const from = start + name.length + 2;
  const end = reply.indexOf('\r', from);
  return reply.slice(from, end < 0 ? undefined : end);
}

/** One connection of a replica in CLIENT LIST. */
export interface ReplicaClient {
  readonly id: string;
  /** Seconds since the server accepted the connection. */
  readonly age: number;
  /**
   * Redis 8 marks the second connection of a syncing replica, which carries the RDB file, with C.
   */
  readonly flags: string;
  /** The last command that came over this connection; undefined if the server does not tell. */
  readonly command: string | undefined;
}

/** The connections in a reply to CLIENT LIST TYPE replica; none if the command was refused. */
export function parseReplicaClients(reply: Reply | undefined): ReplicaClient[] {
  const clients: ReplicaClient[] = [];
  if (typeof reply !== 'string') return clients;
  for (const line of reply.split('\n')) {
    const id = /(?:^| )id=(\d+)/.exec(line)?.[1];
    const age = /(?:^| )age=(\d+)/.exec(line)?.[1];
    if (id === undefined || age === undefined) continue;
    const flags = / flags=(\S*)/.exec(line)?.[1] ?? '';
    const command = / cmd=(\S+)/.exec(line)?.[1];
    clients.push({ id, age: Number(age), flags, command });
  }
  return clients;
}
