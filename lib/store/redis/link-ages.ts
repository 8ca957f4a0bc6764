import { infoField, parseReplicaClients } from './replication-info.js';
import { ErrorReply, type Command, type Reply } from './connection.js';

/**
 * Since when the replication links of one run of one server have stood, as far as this process can be sure. Another run of the server, or
 * another replication id, needs a new object: client ids and counters begin anew there.
 */
export interface LinkAges {
  /** What to ask, last in every look at the server. */
  readonly question: Command;
  /** Takes in the answer, which came at the monotonic instant `answeredAt`. `listedLinks`: replica lines in the INFO before it. */
  observe(answer: Reply | undefined, answeredAt: number, listedLinks: number): void;
  /** The instants since which the links have stood, in any order. */
  readonly madeAt: readonly number[];
}

/** How many of the links have stood since `instant`. */
export function countOlderThan(links: LinkAges, instant: number): number {
  let count = 0;
  for (const madeAt of links.madeAt) if (madeAt <= instant) count++;
  return count;
}

/** CLIENT LIST gives whole seconds, and a link accepted behind a long command looks older by that command's length: 5 s are allowed. */
const AGE_UNCERTAINTY = 6_000;

/** Knows each link by its client id; links made before this process looked are as old as the server says, less a margin. */
export class ListedLinkAges implements LinkAges {
  readonly question: Command = ['client', 'list', 'type', 'replica'];
  madeAt: readonly number[] = [];
  private byId = new Map<string, number>();

  observe(answer: Reply | undefined, answeredAt: number): void {
    const next = new Map<string, number>();
    for (const { id, age } of parseReplicaClients(answer)) {
      const atTheLatest = answeredAt - Math.max(0, age * 1000 - AGE_UNCERTAINTY);
      next.set(id, Math.min(atTheLatest, this.byId.get(id) ?? Infinity));
    }
    this.byId = next;
    this.madeAt = [...next.values()];
  }
}

/**
 * For a user who may not ask CLIENT LIST: no link was made while the server's counters of synchronisations stood still. So all links are as old as this
 * process's first look, or as the last change of the counters.
 */
export class CountedLinkAges implements LinkAges {
  readonly question: Command = ['info', 'stats'];
  private syncs = '';
  madeAt: readonly number[] = [];
  private unchangedSince = 0;

  observe(answer: Reply | undefined, answeredAt: number, listedLinks: number): void {
    const full = infoField(answer, 'sync_full');
    const syncs = full === undefined ? '' : `${full} ${infoField(answer, 'sync_partial_ok')}`;
    if (syncs === '' || syncs !== this.syncs) this.unchangedSince = answeredAt;
    this.syncs = syncs;
    this.madeAt = Array.from({ length: listedLinks }, () => this.unchangedSince);
  }
}

/** Chooses by the server's answer to the first question. */
export function linkAgesFor(answer: Reply | undefined): LinkAges {
  return answer instanceof ErrorReply ? new CountedLinkAges() : new ListedLinkAges();
}
