import type { Address, Reply } from '../resp.js';
import type { SlotRanges } from './hash-slot.js';

/** One server of the Cluster in the view of another server. */
export interface ClusterNode {
  readonly id: string;
  /**
   * `ip:port` by which the servers name each other: the server's identity among the known replicas.
   */
  readonly identity: string;
  /** The name that the server announces beside the ip (`cluster-announce-hostname`). */
  readonly hostname: string | undefined;
  /** This entry is the server that answered. */
  readonly isMyself: boolean;
  readonly isMaster: boolean;
  /** Declared dead by the majority of the masters, or without an address. */
  readonly isFailed: boolean;
  /** The answering server is connected to this one, and does not suspect that it is dead. */
  readonly isReached: boolean;
  /** The answering server suspects or knows that this one is dead. */
  readonly isSuspected: boolean;
  /**
   * ms since 1970, by the clock of the answering server: when this server was last heard, by the
   * answering server or by another that passed the time on. 0: never.
   */
  readonly heardAt: number;
  /** Set for a replica only. */
  readonly masterId: string | undefined;
  /** If two masters claim a slot, the master with the greater epoch owns it. */
  readonly epoch: number;
  readonly slots: SlotRanges;
}

/** What one server says about the whole Cluster. */
export interface ClusterView {
  readonly author: string;
  readonly nodes: readonly ClusterNode[];
  /** Clients must use the host names (`cluster-preferred-endpoint-type hostname`). */
  readonly prefersHostnames?: boolean;
}

/**
 * Reads CLUSTER NODES. Every version has this command. Unlike CLUSTER SHARDS, the reply has the
 * epochs by which the views of two servers can be ordered. `asked` is the address at which the
 * answering server was reached, because a server may not know its own address.
 *
 * See https://redis.io/docs/latest/commands/cluster-nodes/.
 */
export function parseClusterNodes(reply: Reply | undefined, asked: Address): ClusterView | undefined {
  if (typeof reply !== 'string') return undefined;
  const nodes = reply.split('\n').flatMap((line) => parseNode(line.trim(), asked) ?? []);
  const author = nodes.find((node) => node.isMyself)?.id;
  return author === undefined ? undefined : { author, nodes };
}

/**
 * The names by which clients must reach the servers, from a reply to CLUSTER SLOTS: ranges of
 * `[from, to, [name, port, id, ...], ...]`. CLUSTER NODES does not say whether clients must use a
 * host name.
 *
 * See https://redis.io/docs/latest/commands/cluster-slots/.
 */
export function parsePreferredNames(reply: Reply | undefined): ReadonlySet<string> {
  const names = new Set<string>();
  if (!Array.isArray(reply)) return names;
  for (const range of reply)
    for (const server of Array.isArray(range) ? range.slice(2) : [])
      if (Array.isArray(server)) names.add(String(server[0]));
  return names;
}

/**
 * `<id> <ip:port@bus[,hostname[,...]]> <flags> <master id or -> <ping> <pong> <epoch> <link> <slot
 * or range or [migration]>...`
 */
function parseNode(line: string, asked: Address): ClusterNode | undefined {
  const [id, address, flagText, masterId, , heardAt, epoch, linkState, ...ranges] = line.split(' ');
  if (id === undefined || address === undefined || flagText === undefined || epoch === undefined)
    return undefined;
  const flags = flagText.split(',');
  if (flags.includes('handshake')) return undefined;
  const isMyself = flags.includes('myself');
  const [place = '', hostname] = address.split(',');
  const at = place.split('@')[0]!;
  const isFailed = flags.includes('fail') || flags.includes('noaddr');
  const colon = at.lastIndexOf(':');
  const host = at.slice(0, colon);
  return {
    id,
    identity: host === '' && isMyself ? `${asked.host}${at}` : at,
    hostname: hostname === undefined || hostname === '' || hostname.includes('=') ? undefined : hostname,
    isMyself,
    isMaster: flags.includes('master'),
    isFailed,
    isReached: linkState === 'connected' && !flags.includes('fail') && !flags.includes('fail?'),
    isSuspected: isFailed || flags.includes('fail?'),
    heardAt: Number(heardAt),
    masterId: masterId === '-' ? undefined : masterId,
    epoch: Number(epoch),
    slots: ranges.filter((range) => !range.startsWith('[')).map(rangeOf),
  };
}

function rangeOf(text: string): [number, number] {
  const [from, to = from] = text.split('-');
  return [Number(from), Number(to)];
}
