/**
 * The data that the board sends to its page, as JSON. Types only: the page's scripts use them, too,
 * and know neither Node nor Nest.
 */

/** The colour of an entry: `good` went well, `warn` and `bad` are for operators, `plain` is the rest. */
export type BoardTone = 'good' | 'warn' | 'bad' | 'plain';

/** Some of many: the first entries, and how many there are. */
export interface Some<T> {
  readonly total: number;
  readonly first: readonly T[];
}

/** The state of one process and of Redis as that process last saw it. */
export interface BoardState {
  /** The name of the module instance; undefined for the unnamed instance. */
  readonly instance?: string;
  /** The process that answers, as `host:pid`. */
  readonly process: string;
  /** ms since 1970, by the clock of that process. */
  readonly at: number;
  /** `degraded`: new locks are refused for now, held locks are kept. */
  readonly status: 'up' | 'degraded' | 'down';
  /** Locks that this process has lost since the start. */
  readonly lost: number;
  /** One for each master. Empty if the locks are in memory. */
  readonly masters: readonly BoardMaster[];
  readonly held: Some<BoardLock>;
  readonly waiting: Some<BoardQueue>;
  readonly elections: Some<BoardElection>;
  /** True if the board may take a key away from its holders. */
  readonly allowForceRelease: boolean;
}

/** A master with its replicas. */
export interface BoardMaster {
  /** `host:port`. */
  readonly address: string;
  readonly status: 'up' | 'degraded' | 'down';
  /** Why the master is not `up`. */
  readonly reason?: string;
  /** Settings that should be changed although locks are granted. */
  readonly warnings: readonly string[];
  /** ms until the quarantine ends; 0 if there is none. */
  readonly quarantine: number;
  readonly replicas: readonly BoardReplica[];
}

/** A replica of a master. */
export interface BoardReplica {
  readonly address: string;
  /** True if the replica answers: it has acknowledged the latest writes. */
  readonly confirms: boolean;
  /** Bytes that the replica is behind; null if it is not connected. */
  readonly lag: number | null;
}

/** A held lock, one holder of a shared key, or a key that keeps a result. */
export interface BoardLock {
  /** Several only for a lock of this process. Of many keys the first. */
  readonly keys: readonly string[];
  /** The number of keys that are not listed. */
  readonly moreKeys?: number;
  readonly owner: string;
  readonly fencingToken: number;
  /** How many may hold the key at once. null: any number. */
  readonly limit: number | null;
  /** The number of holders. Undefined for a lock of this process. */
  readonly holders?: number;
  /** ms until the lease ends; null if the key has no end. */
  readonly remainingTime: number | null;
  /** ms that a renewal gives. Only for a lock of this process. */
  readonly leaseTime?: number;
  /** The key has no holder and keeps the result of work that ran once. */
  readonly isKept?: true;
}

/** The callers of one process that wait for a key. */
export interface BoardQueue {
  readonly key: string;
  readonly callers: number;
  /** ms since the first of them asked. */
  readonly longestWait: number;
}

/** An election for which the process stands. */
export interface BoardElection {
  readonly key: string;
  readonly isLeader: boolean;
}

/** One line of the log of events. */
export interface BoardEvent {
  /** Grows from event to event of a process. */
  readonly id: number;
  /** ms since 1970. */
  readonly at: number;
  readonly tone: BoardTone;
  /** One word, such as `acquired` or a code of the log. */
  readonly what: string;
  /** The keys in question, of many the first; none if the text says everything. */
  readonly keys: readonly string[];
  readonly text: string;
}

/** One page of the locks of all processes. */
export interface BoardLocks {
  readonly locks: readonly BoardLock[];
  /** Asks for the next page; undefined if this page is the last. */
  readonly cursor?: string;
}

/** The body of the request to take a key away from all its holders, or from one. */
export interface BoardRelease {
  readonly key: string;
  readonly owner?: string;
  /** The key once more, as the operator typed it. */
  readonly confirmation: string;
}
