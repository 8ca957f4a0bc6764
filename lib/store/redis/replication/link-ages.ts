import {
  infoField,
  parseReplicaClients,
  syncingLinks,
  type ReplicaClient,
  type ReplicationInfo,
} from './replication-info.js';
import { ErrorReply, type Command, type Reply } from '../resp.js';

/**
 * Since when the replication links of one run of one server have stood, as far as this process can
 * be sure. Another run of the server, or another replication id, needs a new object: client ids and
 * counters begin anew there.
 */
export interface LinkAges {
  /** What to ask, last in every look at the server. */
  readonly question: Command;
  /**
   * Takes in the answer, which came at the monotonic instant `answeredAt`, behind an INFO that said
   * `info`.
   */
  observe(answer: Reply | undefined, answeredAt: number, info: ReplicationInfo): void;
  /**
   * The instants since which the links that may have confirmed a write have stood, in any order.
   */
  readonly madeAt: readonly number[];
  /** How many links of replicas have acknowledged nothing so far, as far as this can be told. */
  readonly unacknowledged: number;
}

/** How many of the links have stood since `instant`. */
export function countOlderThan(links: LinkAges, instant: number): number {
  let count = 0;
  for (const madeAt of links.madeAt) if (madeAt <= instant) count++;
  return count;
}

/**
 * CLIENT LIST gives whole seconds, and a link accepted behind a long command looks older by that
 * command's length: 5 s are allowed.
 */
const LINK_AGE_UNCERTAINTY = 6_000;

/**
 * Knows each link by its client id; links made before this process looked are as old as the server
 * says, less a margin.
 */
export class ListedLinkAges implements LinkAges {
  readonly question: Command = ['client', 'list', 'type', 'replica'];
  madeAt: readonly number[] = [];
  unacknowledged = 0;
  private byId = new Map<string, number>();

  observe(answer: Reply | undefined, answeredAt: number, info: ReplicationInfo): void {
    const next = new Map<string, number>();
    const links = parseReplicaClients(answer).filter((client) => !carriesFile(client));
    for (const { id, age } of links) {
      const atTheLatest = answeredAt - Math.max(0, age * 1000 - LINK_AGE_UNCERTAINTY);
      next.set(id, Math.min(atTheLatest, this.byId.get(id) ?? Infinity));
    }
    this.byId = next;
    const acknowledging = links.filter((link) => !isSyncing(link)).map(({ id }) => next.get(id)!);
    this.unacknowledged = links.length - acknowledging.length;
    this.madeAt = withYoung(acknowledging, syncingLinks(info) - this.unacknowledged, answeredAt);
  }
}

/**
 * The second connection of a replica in full sync, which carries nothing but the RDB file (Redis 8:
 * `repl-rdb-channel`).
 */
function carriesFile({ flags }: ReplicaClient): boolean {
  return flags.includes('C');
}

/**
 * Over a link that has confirmed anything the last command was REPLCONF ACK. Nothing has come since
 * PSYNC over the link of a replica that still receives or loads the file (SYNC: the second
 * connection of Valkey's `dual-channel-replication-enabled`, or a reader of the stream).
 */
function isSyncing({ command }: ReplicaClient): boolean {
  return command === 'psync' || command === 'sync';
}

/**
 * INFO names `count` syncing links more than were recognised: any of these may be one, the oldest
 * too. So that many of the oldest count as young.
 */
function withYoung(madeAt: readonly number[], count: number, now: number): readonly number[] {
  if (count <= 0) return madeAt;
  return madeAt.toSorted((a, b) => a - b).map((instant, place) => (place < count ? now : instant));
}

/**
 * For a user who may not ask CLIENT LIST: no link was made while the server's counters of
 * synchronisations stood still. So all links are as old as this process's first look, or as the
 * last change of the counters.
 */
export class CountedLinkAges implements LinkAges {
  readonly question: Command = ['info', 'stats'];
  private syncs = '';
  madeAt: readonly number[] = [];
  readonly unacknowledged = 0;
  private unchangedSince = 0;

  observe(answer: Reply | undefined, answeredAt: number, info: ReplicationInfo): void {
    const full = infoField(answer, 'sync_full');
    const syncs = full === undefined ? '' : `${full} ${infoField(answer, 'sync_partial_ok')}`;
    if (syncs === '' || syncs !== this.syncs) this.unchangedSince = answeredAt;
    this.syncs = syncs;
    this.madeAt = info.links.filter(({ online }) => online).map(() => this.unchangedSince);
  }
}

/** Chooses by the server's answer to the first question. */
export function linkAgesFor(answer: Reply | undefined): LinkAges {
  return answer instanceof ErrorReply ? new CountedLinkAges() : new ListedLinkAges();
}
