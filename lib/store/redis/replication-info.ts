import type { Reply } from './connection.js';

/** What `INFO replication` of one server says. */
export interface ReplicationInfo {
  readonly role: string;
  readonly replid: string;
  /** The master's replication offset. */
  readonly offset: number;
  /** One entry for each line of a replica; the same replica can have two for a while: a dead link and the new one. */
  readonly links: readonly ReplicaLine[];
}

export interface ReplicaLine {
  /** `ip:port` as the replica announced it: its identity. */
  readonly address: string;
  readonly online: boolean;
  /** What it has acknowledged. */
  readonly offset: number;
  /** s since it last acknowledged anything; a replica that is well does so every second. */
  readonly silence: number;
  /** A client that only reads the stream (`redis-cli --rdb`) announces port 0: it holds no data. */
  readonly isReplica: boolean;
}

const REPLICA_LINE = /^slave\d+:ip=(.*),port=(\d+),state=([^,]*),offset=(\d+)(?:,lag=(\d+))?/;

/** Reads the reply; undefined where it is none (refused, or masked by a service). */
export function parseReplicationInfo(reply: Reply | undefined): ReplicationInfo | undefined {
  if (typeof reply !== 'string') return undefined;
  let role = '';
  let replid = '';
  let offset = Number.NaN;
  const links: ReplicaLine[] = [];
  for (const line of reply.split('\r\n')) {
    if (line.startsWith('slave')) {
      const match = REPLICA_LINE.exec(line);
      if (match === null) continue;
      links.push({
        address: `${match[1]}:${match[2]}`,
        online: match[3] === 'online',
        offset: Number(match[4]),
        silence: Number(match[5] ?? 0),
        isReplica: match[2] !== '0',
      });
    } else if (line.startsWith('role:')) role = line.slice(5);
    else if (line.startsWith('master_replid:')) replid = line.slice(14);
    else if (line.startsWith('master_repl_offset:')) offset = Number(line.slice(19));
  }
  return role === '' || replid === '' || Number.isNaN(offset) ? undefined : { role, replid, offset, links };
}

/** The addresses of all replicas in the list, online or not, each once. */
export function listedAddresses(info: ReplicationInfo): Set<string> {
  return new Set(info.links.filter((link) => link.isReplica).map((link) => link.address));
}

/** One field of an INFO section. */
export function infoField(reply: Reply | undefined, name: string): string | undefined {
  if (typeof reply !== 'string') return undefined;
  const start = reply.indexOf(`\n${name}:`);
  if (start < 0) return undefined;
  const from = start + name.length + 2;
  const end = reply.indexOf('\r', from);
  return reply.slice(from, end < 0 ? undefined : end);
}

/** The replication links in a reply to CLIENT LIST TYPE replica; none where the command was refused. */
export function parseReplicaClients(reply: Reply | undefined): { id: string; age: number }[] {
  const clients: { id: string; age: number }[] = [];
  if (typeof reply !== 'string') return clients;
  for (const line of reply.split('\n')) {
    const id = /(?:^| )id=(\d+)/.exec(line)?.[1];
    const age = /(?:^| )age=(\d+)/.exec(line)?.[1];
    if (id !== undefined && age !== undefined) clients.push({ id, age: Number(age) });
  }
  return clients;
}
