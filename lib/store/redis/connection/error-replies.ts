import { addressText, type Address, type ErrorReply } from '../resp.js';
import type { Unavailable } from '../../lock-store.js';

/** What an error reply means for requests. */
interface Meaning {
  /** What the server's operator or the user can do. */
  readonly advice: string;
  /** Certainly nothing was written: the server refuses before a script's first write. */
  readonly unwritten: boolean;
  /**
   * Asking again cannot help until the configuration changes. Other permanent reasons are no error
   * replies: see `whyDown` in `master-connection` and `whyUnknown` in `cluster-survey`.
   */
  readonly permanent: boolean;
  /** The server refuses every request for this reason, whatever its keys. */
  readonly refusesAll: boolean;
  /** The server is no longer a master, so this connection is of no use. */
  readonly reconnect?: boolean;
}

/** The reason is a state of the server that passes. */
const passing = (advice: string): Meaning => ({
  advice,
  unwritten: true,
  permanent: false,
  refusesAll: true,
});
/** The reason passes, and may lie in the keys of one request. */
const passingForKeys = (advice: string): Meaning => ({ ...passing(advice), refusesAll: false });
/** The reason is the configuration, which lasts until an operator changes it. */
const lasting = (advice: string): Meaning => ({
  advice,
  unwritten: false,
  permanent: true,
  refusesAll: true,
});

const SLOT_ON_THE_WAY = passingForKeys(
  'The slot of this key is being moved to another master: locks in the slot wait until the move ends.',
);
const MEANINGS: Record<string, Meaning> = {
  READONLY: {
    ...passing(
      'This server is a replica now, and locks follow the master. Point a plain connection to the master, or use Sentinel.',
    ),
    reconnect: true,
  },
  MASTERDOWN: { ...passing('This server is a replica that has lost its master.'), reconnect: true },
  LOADING: passing('This server is starting up and still loads its data.'),
  NOREPLICAS: passing(
    'This server has fewer replicas than its min-replicas-to-write asks for: restore replicas.',
  ),
  OOM: passingForKeys(
    'The memory of this server is full (maxmemory): raise the limit, or keep locks on a server of their own.',
  ),
  BUSY: passing(
    'A script of another program has been running for too long: end that script with SCRIPT KILL.',
  ),
  MISCONF: passing('This server cannot save its data and refuses writes: see the log of the server.'),
  MOVED: passing('This server belongs to a Redis Cluster: give the connection as { nodes: [...] }.'),
  ASK: SLOT_ON_THE_WAY,
  TRYAGAIN: SLOT_ON_THE_WAY,
  CLUSTERDOWN: passing(
    'The Cluster lacks most of its masters, or some slots have no master (then the other slots go on with cluster-require-full-coverage no).',
  ),
  NOAUTH: {
    ...lasting('Give the connection a password (and a username if ACLs are used).'),
    unwritten: true,
  },
  WRONGPASS: { ...lasting('Check the username and password of the connection.'), unwritten: true },
  DENIED: {
    ...lasting(
      'Give the server a password, or set protected-mode no if only trusted hosts can reach the server.',
    ),
    unwritten: true,
  },
  // Refuses a key. For a refused command see COMMAND_REFUSED.
  NOPERM: {
    ...lasting('Give the user the commands and keys that the documentation lists.'),
    refusesAll: false,
  },
};

const UNKNOWN_COMMAND = lasting('The server, or a proxy before the server, lacks a command that locks need.');
/** The user may not run EVAL, or a command that a script runs: no request can pass. */
const COMMAND_REFUSED = /no permissions to run the|can't run this command/;
const COMMAND_NOT_ALLOWED = lasting('Give the user the commands and keys that the documentation lists.');
/** Errors that only their text distinguishes. An error of SELECT is due to the option `db`. */
const BY_TEXT: readonly (readonly [RegExp, Meaning])[] = [
  [
    /max number of clients/,
    passing('Raise the setting maxclients of the server, or let other programs use fewer connections.'),
  ],
  [
    /DB index is out of range|invalid DB index/i,
    lasting(
      'The server has no database of that number: change the option db, or the setting databases of the server.',
    ),
  ],
  [
    /SELECT is not allowed in cluster mode/i,
    lasting(
      'This server belongs to a Redis Cluster: give the connection as { nodes: [{ host, port }] }, without db.',
    ),
  ],
  [
    /unknown command\W*select\b/i,
    lasting(
      'The server has no databases to choose from: leave out db. For a Sentinel, give the connection as { sentinels: [{ host, port }], name }.',
    ),
  ],
];
const UNEXPECTED: Meaning = {
  advice: 'See the log of the server.',
  unwritten: false,
  permanent: false,
  refusesAll: false,
};

export function meaningOf(error: ErrorReply): Meaning {
  const known = BY_TEXT.find(([pattern]) => pattern.test(error.message));
  if (known !== undefined) return known[1];
  if (/unknown command/i.test(error.message)) return UNKNOWN_COMMAND;
  if (COMMAND_REFUSED.test(error.message)) return COMMAND_NOT_ALLOWED;
  return MEANINGS[error.code] ?? UNEXPECTED;
}

/**
 * Whether a script that ran for several requests may have been refused because of one of them.
 * The reason may be a key outside the user's rights, or keys of different slots. Then each
 * request is sent again alone, once, and only the request at fault is refused.
 */
export function mayBlameOne(error: ErrorReply): boolean {
  return error.code !== 'NOSCRIPT' && !meaningOf(error).refusesAll;
}

/** Redis refused a command that is indispensable. */
export class RefusedError extends Error {
  constructor(
    readonly address: Address,
    readonly reply: ErrorReply,
  ) {
    super(reply.message);
  }
}

/** The server answers, but cannot keep locks before a configuration is changed: there or here. */
export class UnsuitableError extends Error {}

/**
 * True if no name server knows the host of a connection (`ENOTFOUND`). A name server that does not
 * answer is another error (`EAI_AGAIN`).
 */
export function isUnknownHost(error: unknown): boolean {
  if (error instanceof UnknownHostError) return true;
  return (error as { code?: unknown } | undefined)?.code === 'ENOTFOUND';
}

/** The hosts of all servers that could say where the master is are unknown. */
export class UnknownHostError extends Error {}

/** The message of a thrown value, without a full stop, to be part of a sentence. */
export function messageOf(error: unknown): string {
  const { message, errors } = (error ?? {}) as { message?: unknown; errors?: unknown };
  // For a host name with several addresses there is one error for each address, and no message.
  if (message === '' && Array.isArray(errors)) return [...new Set(errors.map(messageOf))].join(', ');
  return (typeof message === 'string' && message !== '' ? message : String(error)).replace(/\.$/, '');
}

/** The outcome for a caller whose request the server refused. */
export function refusedBy(address: Address, error: ErrorReply): Unavailable {
  const { advice, permanent } = meaningOf(error);
  const words = error.isFarewell ? error.message.split('. ')[0]! : error.message;
  return {
    kind: 'unavailable',
    reason: `Redis at ${addressText(address)} refused: ${words.replace(/\s*script: [0-9a-f]{40}.*$/, '').replace(/\.$/, '')}. ${advice}`,
    cause: new Error(error.message),
    ...(permanent && { permanent }),
  };
}
