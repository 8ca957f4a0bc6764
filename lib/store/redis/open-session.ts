import type { Clock } from '../clock.js';
import {
  ask,
  ErrorReply,
  type Address,
  type Command,
  type Connection,
  type Connector,
  type Reply,
} from './connection.js';
import { linkAgesFor } from './link-ages.js';
import { meaningOf } from './refusal.js';
import { infoField, parseReplicationInfo } from './replication-info.js';
import { Session, type Opened, type Run } from './session.js';

const INVALIDATIONS = '__redis__:invalidate';
/** ms that connecting may take beside the questions that follow; the connector has a limit of its own, usually shorter. */
const CONNECT_ALLOWANCE = 10_000;

/** Redis refused a question that a session cannot do without. */
export class RefusedError extends Error {
  constructor(
    readonly address: Address,
    readonly reply: ErrorReply,
  ) {
    super(reply.message);
  }

  get permanent(): boolean {
    return meaningOf(this.reply).permanent;
  }
}

/**
 * Connects to one master, and makes sure that all three connections speak to the same run of it. `previous` is the run of the session before:
 * what its commit connection has not yet executed is killed first, so that it cannot take a lock behind our back.
 */
export async function openSession(
  connector: Connector,
  address: Address,
  previous: Run | undefined,
  onNotice: (key: string | undefined) => void,
  clock: Clock,
  controlTimeout: number,
): Promise<Session> {
  const connections = new Connections(connector, address);
  let stopClock: () => void = () => {};
  const timeUp = new Promise<never>((_, reject) => {
    stopClock = clock.after(controlTimeout + CONNECT_ALLOWANCE, () =>
      reject(new Error('it did not answer in time while the connections were set up')),
    );
  });
  try {
    const opened = await Promise.race([setUp(connections, address, previous, onNotice), timeUp]);
    return new Session(opened, clock, controlTimeout);
  } catch (error) {
    connections.closeAll();
    throw error;
  } finally {
    stopClock();
  }
}

async function setUp(
  connections: Connections,
  address: Address,
  previous: Run | undefined,
  onNotice: (key: string | undefined) => void,
): Promise<Opened> {
  const [commit, control, watcher] = await Promise.all([
    connections.make('commit'),
    connections.make('control'),
    connections.make('watcher'),
  ]);
  const [commitSide, controlSide, watcherSide] = await Promise.all([
    identify(address, commit),
    identify(address, control),
    identify(address, watcher),
  ]);
  const { runId, clientId: commitId } = commitSide;
  if (controlSide.runId !== runId || watcherSide.runId !== runId) {
    throw new Error('its connections reached different servers');
  }
  const sameRun = previous?.runId === runId;
  // Where a user may not kill, the ghost of a lost connection is bounded by its lease.
  if (sameRun) await ask(control, [['client', 'kill', 'id', previous.commitId]]);
  const [replication, memory] = await demand(address, commit, [
    ['info', 'replication'],
    ['info', 'memory'],
  ]);
  const firstInfo = parseReplicationInfo(replication);
  if (firstInfo === undefined)
    throw new Error('it hides INFO replication, without which no confirmation can be told');
  if (firstInfo.role !== 'master') {
    throw new Error('it is no master but a replica: point the connection to the master, or use Sentinel');
  }
  const untracked = await track(commit, watcher, watcherSide.clientId, onNotice);
  const [firstLinkAnswer] = await ask(commit, [['client', 'list', 'type', 'replica']]);
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

/** Connections in the making: closed all together where one of them, or what follows, fails. */
class Connections {
  private readonly made: Connection[] = [];
  private isGivenUp = false;

  constructor(
    private readonly connector: Connector,
    private readonly address: Address,
  ) {}

  async make(label: string): Promise<Connection> {
    const connection = await this.connector.connect(this.address, label).catch((error: unknown) => {
      throw error instanceof ErrorReply ? new RefusedError(this.address, error) : error;
    });
    if (this.isGivenUp) connection.close();
    else this.made.push(connection);
    return connection;
  }

  closeAll(): void {
    this.isGivenUp = true;
    for (const connection of this.made) connection.close();
  }
}

async function identify(
  address: Address,
  connection: Connection,
): Promise<{ clientId: number; runId: string }> {
  const [clientId, server] = await demand(address, connection, [
    ['client', 'id'],
    ['info', 'server'],
  ]);
  if (infoField(server, 'redis_mode') === 'sentinel') {
    throw new Error(
      'it is a Sentinel: give the connection as { sentinels: [{ host, port }], name } with the name of the master',
    );
  }
  const runId = infoField(server, 'run_id');
  if (runId === undefined)
    throw new Error('it hides INFO server (run_id), without which its restart cannot be seen');
  return { clientId: clientId as number, runId };
}

async function demand(
  address: Address,
  connection: Connection,
  commands: readonly Command[],
): Promise<Reply[]> {
  const replies = await ask(connection, commands);
  const refusal = replies.find((reply) => reply instanceof ErrorReply);
  if (refusal !== undefined) throw new RefusedError(address, refusal);
  return replies;
}

/** Has the server tell the watcher of changes to keys that the commit connection read; answers why not where it refuses. */
async function track(
  commit: Connection,
  watcher: Connection,
  watcherId: number,
  onNotice: (key: string | undefined) => void,
): Promise<ErrorReply | undefined> {
  try {
    await watcher.subscribe(INVALIDATIONS, (payload) => {
      // FLUSHALL names no key: null, or an empty string where the client library makes it one.
      if (Array.isArray(payload)) for (const key of payload) onNotice(String(key));
      else onNotice(typeof payload === 'string' && payload !== '' ? payload : undefined);
    });
  } catch (error) {
    if (error instanceof ErrorReply) return error;
    throw error;
  }
  const [reply] = await ask(commit, [['client', 'tracking', 'on', 'redirect', watcherId, 'noloop']]);
  return reply instanceof ErrorReply ? reply : undefined;
}

function evictionPolicyOf(memory: Reply | undefined): string | undefined {
  const limit = infoField(memory, 'maxmemory');
  const policy = infoField(memory, 'maxmemory_policy');
  return limit === undefined || limit === '0' || policy === 'noeviction' ? undefined : policy;
}
