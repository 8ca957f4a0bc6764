import type { Clock } from '../../../common/clock.js';
import { connecting, type Connect } from './connecting.js';
import { ask, type Connection, type Connector } from './connection.js';
import { ErrorReply, type Address, type Command, type Reply } from '../resp.js';
import { linkAgesFor } from '../replication/link-ages.js';
import { RefusedError, UnsuitableError } from './error-replies.js';
import { infoField, parseReplicationInfo } from '../replication/replication-info.js';
import { Session, type Opened, type ServerRun } from './session.js';

const INVALIDATIONS = '__redis__:invalidate';

export const NEEDS_NODES =
  'it is a node of a Redis Cluster: give the connection as { nodes: [{ host, port }] }';

export const NEEDS_SENTINELS =
  'it is a Sentinel: give the connection as { sentinels: [{ host, port }], name } with the name of the master';

/** The server is a replica. */
export class NoMasterError extends Error {
  constructor() {
    super('it is no master but a replica: point the connection to the master, or use Sentinel');
  }
}

/** Everything that is needed to connect to one master. */
export interface SessionRequest {
  readonly connector: Connector;
  readonly address: Address;
  /** True if the server must be a node of a Redis Cluster; false if it must not be one. */
  readonly inCluster: boolean;
  /** The server run of the session before this one, if there was one. */
  readonly previous: ServerRun | undefined;
  readonly onNotice: (key: string | undefined) => void;
  readonly clock: Clock;
  /** ms that the control connection may be silent if an answer is due. */
  readonly controlSilence: number;
}

/**
 * Connects to one master, and makes sure that all three connections reach the same run of that
 * server. If that run is the run of the session before, the commit connection of that session is
 * killed before the new session is used: a command that is still on its way cannot take a lock
 * later. Takes no longer than the connector's time limit, and ends if `signal` aborts.
 */
export async function openSession(request: SessionRequest, signal: AbortSignal): Promise<Session> {
  const { connector, address, clock, controlSilence } = request;
  const opened = await connecting(connector, address, clock, signal, (connect) => setUp(connect, request));
  return new Session(opened, clock, controlSilence);
}

/** Takes three round trips, because the time limit must suffice for a distant server, too. */
async function setUp(
  connect: Connect,
  { address, inCluster, previous, onNotice }: SessionRequest,
): Promise<Opened> {
  const [commit, control, watcher] = await Promise.all([
    connect('commit'),
    connect('control'),
    connect('watcher'),
  ]);
  const [commitSide, controlSide, watcherSide, refusedSubscribe] = await Promise.all([
    identify(address, commit, [
      ['info', 'replication'],
      ['info', 'memory'],
    ]),
    identify(address, control),
    identify(address, watcher),
    subscribe(watcher, onNotice),
  ]);
  const { runId, clientId: commitId, mode } = commitSide;
  if (controlSide.runId !== runId || watcherSide.runId !== runId) {
    throw new Error('its connections reached different servers');
  }
  if (mode === 'cluster' && !inCluster) throw new UnsuitableError(NEEDS_NODES);
  const [replication, memory] = commitSide.moreReplies;
  const firstInfo = parseReplicationInfo(replication);
  if (firstInfo === undefined)
    throw new UnsuitableError('it hides INFO replication, without which no confirmation can be told');
  if (firstInfo.role !== 'master') {
    throw new NoMasterError();
  }
  const sameRun = previous?.runId === runId;
  const [untracked, [firstLinkAnswer, waited]] = await Promise.all([
    refusedSubscribe ?? track(commit, watcherSide.clientId),
    // WAIT for no replica answers at once.
    ask(commit, [
      ['client', 'list', 'type', 'replica'],
      ['wait', 0, 1],
    ]),
    // If the user may not run CLIENT KILL, what the lost connection still writes ends with its
    // lease.
    sameRun && ask(control, [['client', 'kill', 'id', previous.commitId]]),
  ]);
  // Without WAIT the replicas would only seem to be slow. A server without replicas needs no WAIT.
  if (waited instanceof ErrorReply && firstInfo.lines.length > 0) throw new RefusedError(address, waited);
  const links =
    sameRun && previous.replid === firstInfo.replid ? previous.links : linkAgesFor(firstLinkAnswer);
  return {
    address,
    run: { runId, replid: firstInfo.replid, links, commitId },
    firstInfo,
    firstLinkAnswer,
    evictionPolicy: evictionPolicyOf(memory),
    untracked,
    commit,
    control,
    watcher,
  };
}

/**
 * Asks for the client id and for the run id, which must be the same on all connections. Sends
 * `more` in the same write.
 */
async function identify(
  address: Address,
  connection: Connection,
  more: readonly Command[] = [],
): Promise<{ clientId: number; runId: string; mode: string | undefined; moreReplies: Reply[] }> {
  const replies = await ask(connection, [['client', 'id'], ['info', 'server'], ...more]);
  const [clientId, server, ...moreReplies] = replies;
  // Valkey calls the field server_mode.
  const mode = infoField(server, 'redis_mode') ?? infoField(server, 'server_mode');
  if (mode === 'sentinel') {
    throw new UnsuitableError(NEEDS_SENTINELS);
  }
  const refusal = replies.find((reply) => reply instanceof ErrorReply);
  if (refusal !== undefined) throw new RefusedError(address, refusal);
  const runId = infoField(server, 'run_id');
  if (runId === undefined)
    throw new UnsuitableError('it hides INFO server (run_id), without which its restart cannot be seen');
  return { clientId: clientId as number, runId, mode, moreReplies };
}

/** Subscribes the watcher to notices of changed keys; returns the error if the server refuses. */
async function subscribe(
  watcher: Connection,
  onNotice: (key: string | undefined) => void,
): Promise<ErrorReply | undefined> {
  try {
    await watcher.subscribe(INVALIDATIONS, (payload) => {
      // FLUSHALL names no key: the payload is null, or an empty string in some client libraries.
      if (Array.isArray(payload)) for (const key of payload) onNotice(String(key));
      else onNotice(typeof payload === 'string' && payload !== '' ? payload : undefined);
    });
    return undefined;
  } catch (error) {
    if (error instanceof ErrorReply) return error;
    throw error;
  }
}

/**
 * Makes the server notify the watcher of changes to keys that the commit connection has read;
 * returns the error if the server refuses.
 */
async function track(commit: Connection, watcherId: number): Promise<ErrorReply | undefined> {
  const [reply] = await ask(commit, [['client', 'tracking', 'on', 'redirect', watcherId, 'noloop']]);
  return reply instanceof ErrorReply ? reply : undefined;
}

/** The policy by which the server may evict locks; undefined if the server evicts none. */
export function evictionPolicyOf(memory: Reply | undefined): string | undefined {
  const limit = infoField(memory, 'maxmemory');
  const policy = infoField(memory, 'maxmemory_policy');
  return limit === undefined || limit === '0' || policy === 'noeviction' ? undefined : policy;
}
