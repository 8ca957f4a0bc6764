import type { Address, Reply } from '../resp.js';

/** One server of the Cluster, as another one describes it. */
export interface ClusterNode {
  readonly id: string;
  /** `ip:port` as the servers name it to each other: its identity among the known replicas. */
  readonly identity: string;
  /** The name that it announces beside its ip (cluster-announce-hostname). */
  readonly hostname: string | undefined;
  /** It does the asking and answering. */
  readonly isMyself: boolean;
  readonly isMaster: boolean;
  /** Declared dead by the majority of the masters, or without an address. */
  readonly isFailed: boolean;
  /** The server that describes it is connected to it, and does not suspect it to be dead. */
  readonly isReached: boolean;
  /** The server that describes it suspects it to be dead, or knows it to be. */
  readonly isSuspected: boolean;
  /**
   * ms since 1970, by the clock of the server that describes it: when that server, or another that
   * told it so, last heard it. 0: never.
   */
  readonly heardAt: number;
  /** Of a replica. */
  readonly masterId: string | undefined;
  /** Of two masters that claim a slot the one with the greater epoch has it. */
  readonly epoch: number;
  /** First and last slot of each range. */
  readonly slots: readonly (readonly [from: number, to: number])[];
}

/** What one server says of the whole Cluster. */
export interface ClusterView {
  readonly author: string;
  readonly nodes: readonly ClusterNode[];
  /** Clients are to use the host names (`cluster-preferred-endpoint-type hostname`). */
  readonly prefersHostnames?: boolean;
}

/**
 * Reads CLUSTER NODES. Every version has it, and unlike CLUSTER SHARDS it tells the epochs by which
 * two servers' views can be ordered. `asked` is where the answering server was reached: it may not
 * know its own address.
 */
export function parseClusterNodes(reply: Reply | undefined, asked: Address): ClusterView | undefined {
  if (typeof reply !== 'string') return undefined;
  const nodes = reply.split('\n').flatMap((line) => parseNode(line.trim(), asked) ?? []);
  const author = nodes.find((node) => node.isMyself)?.id;
  return author === undefined ? undefined : { author, nodes };
}

/**
 * The names by which clients are to reach the servers, in a reply to CLUSTER SLOTS: ranges of
 * `[from, to, [name, port, id, ...], ...]`. CLUSTER NODES does not tell whether a host name is one.
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
