import {
  infoField,
  parseReplicaClients,
  syncingLinks,
  type ReplicaClient,
  type ReplicationInfo,
} from './replication-info.js';
import { ErrorReply, type Command, type Reply } from '../resp.js';

/**
 * The instants since which the replication links of one run of one server have certainly stood.
 * Another run of the server, or another replication id, needs a new object: client ids and counters
 * start again there.
 */
export interface LinkAges {
  /** The command to send, last in every poll of the server. */
  readonly command: Command;
  /** Takes in the answer, which came at the monotonic instant `answeredAt`, right after `info`. */
  observe(answer: Reply | undefined, answeredAt: number, info: ReplicationInfo): void;
  /**
   * The instant since which each link that may have confirmed a write has stood. Unordered.
   */
  readonly madeAt: readonly number[];
  /** How many links of replicas have acknowledged nothing so far, if the server shows that. */
  readonly unacknowledged: number;
}

/** How many of the links have stood since `instant`. */
export function countOlderThan(links: LinkAges, instant: number): number {
  let count = 0;
  for (const madeAt of links.madeAt) if (madeAt <= instant) count++;
  return count;
}

/**
 * ms by which a link may be younger than CLIENT LIST says. CLIENT LIST gives whole seconds. A
 * link that was accepted behind a long command looks older by the length of that command: 5 s are
 * allowed.
 */
const LINK_AGE_UNCERTAINTY = 6_000;

/**
 * Knows each link by the client id. A link that is older than this process's first poll has the age
 * that the server tells, less a margin.
 */
export class ListedLinkAges implements LinkAges {
  readonly command: Command = ['client', 'list', 'type', 'replica'];
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
 * Whether this is the second connection of a replica in full sync, which carries nothing but the
 * RDB file (Redis 8: `repl-rdb-channel`).
 */
export function carriesFile({ flags }: ReplicaClient): boolean {
  return flags.includes('C');
}

/**
 * Whether a replica still receives or loads the file. The last command over such a link was
 * PSYNC, but REPLCONF ACK over a link that has confirmed anything. SYNC is the last command of
 * the second connection of Valkey's `dual-channel-replication-enabled`, and of a reader of the
 * stream.
 */
export function isSyncing({ command }: ReplicaClient): boolean {
  return command === 'psync' || command === 'sync';
}

/**
 * INFO shows `count` more syncing links than CLIENT LIST does. Any link may be syncing, even the
 * oldest. So `count` of the oldest links count as young.
 */
function withYoung(madeAt: readonly number[], count: number, now: number): readonly number[] {
  if (count <= 0) return madeAt;
  return madeAt.toSorted((a, b) => a - b).map((instant, index) => (index < count ? now : instant));
}

/**
 * For a user without the right to CLIENT LIST. No link was made while the server's counters of
 * synchronisations did not change. So all links have certainly stood since the last change of these
 * counters, or else since this process's first poll.
 */
export class CountedLinkAges implements LinkAges {
  readonly command: Command = ['info', 'stats'];
  private syncs = '';
  madeAt: readonly number[] = [];
  readonly unacknowledged = 0;
  private unchangedSince = 0;

  observe(answer: Reply | undefined, answeredAt: number, info: ReplicationInfo): void {
    const full = infoField(answer, 'sync_full');
    const syncs = full === undefined ? '' : `${full} ${infoField(answer, 'sync_partial_ok')}`;
    if (syncs === '' || syncs !== this.syncs) this.unchangedSince = answeredAt;
    this.syncs = syncs;
    this.madeAt = info.lines.filter(({ online }) => online).map(() => this.unchangedSince);
  }
}

/** Chooses by the server's answer to the first CLIENT LIST. */
export function linkAgesFor(answer: Reply | undefined): LinkAges {
  return answer instanceof ErrorReply ? new CountedLinkAges() : new ListedLinkAges();
}
