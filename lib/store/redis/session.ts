import type { Clock } from '../clock.js';
import {
  addressText,
  ask,
  ErrorReply,
  type Address,
  type Command,
  type Connection,
  type Connector,
  type Reply,
} from './connection.js';
import { linkAgesFor, type LinkAges } from './link-ages.js';
import { meaningOf } from './refusal.js';
import { infoField, parseReplicationInfo, type ReplicationInfo } from './replication-info.js';
import type { Script } from './scripts/script.js';

const INVALIDATIONS = '__redis__:invalidate';
/** How often the watcher connection is asked for a sign of life, and how long it may take. */
const WATCHER_PING_TIME = 5_000;

/** One run of one server: client ids, link ages and replication offsets mean something only within it. */
export interface Run {
  readonly runId: string;
  readonly replid: string;
  readonly links: LinkAges;
  /** The client id of the last commit connection to it. */
  readonly commitId: number;
}

/**
 * The three connections to one run of one master, which live and end together:
 * *commit* carries the scripts and the WAITs that block it, *control* everything that must not wait behind them, and *watcher* receives the
 * notices that client tracking of the commit connection redirects to it.
 */
export class Session {
  private readonly endListeners: ((cause: unknown) => void)[] = [];
  private readonly cachedScripts = new Set<Script>();
  private state: 'live' | 'ended' = 'live';
  private stopPinging: () => void = () => {};
  /** Whether a blocked WAIT can be ended from outside. */
  canUnblock = true;

  private constructor(
    readonly address: Address,
    readonly run: Run,
    /** As the commit connection saw it at its start. */
    readonly firstInfo: ReplicationInfo,
    readonly firstLinkAnswer: Reply | undefined,
    readonly evictionPolicy: string | undefined,
    /** Why changes of keys are not heard of; undefined where they are. */
    readonly untracked: ErrorReply | undefined,
    private readonly commit: Connection,
    private readonly control: Connection,
    private readonly watcher: Connection,
    private readonly clock: Clock,
    private readonly controlTimeout: number,
  ) {
    for (const connection of [commit, control, watcher]) connection.onEnd((cause) => this.end(cause));
    if (untracked === undefined) this.pingWatcher();
  }

  /**
   * Connects, and makes sure that all three connections speak to one run of one master. `previous` is the run of the session before: what its
   * commit connection has not yet executed is killed first, so that it cannot take a lock behind our back.
   */
  static async open(
    connector: Connector,
    address: Address,
    previous: Run | undefined,
    onNotice: (key: string | undefined) => void,
    clock: Clock,
    controlTimeout: number,
  ): Promise<Session> {
    const opened: Connection[] = [];
    let stopClock: () => void = () => {};
    const timeUp = new Promise<never>((_, reject) => {
      stopClock = clock.after(controlTimeout + CONNECT_ALLOWANCE, () =>
        reject(
          new Error(
            `Redis at ${addressText(address)} did not answer in time while the connection was set up`,
          ),
        ),
      );
    });
    const connect = async (label: string): Promise<Connection> => {
      const connection = await connector.connect(address, label);
      if (gaveUp) connection.close();
      else opened.push(connection);
      return connection;
    };
    let gaveUp = false;
    const setUp = async (): Promise<Session> => {
      const [commit, control, watcher] = await Promise.all([
        connect('commit'),
        connect('control'),
        connect('watcher'),
      ]);
      const identity: Command[] = [
        ['client', 'id'],
        ['info', 'server'],
      ];
      const [[commitId, commitServer], [, controlServer], [watcherId, watcherServer]] = await Promise.all([
        answers(address, commit, identity),
        answers(address, control, identity),
        answers(address, watcher, identity),
      ]);
      const runId = infoField(commitServer, 'run_id');
      if (
        runId === undefined ||
        [controlServer, watcherServer].some((reply) => infoField(reply, 'run_id') !== runId)
      ) {
        throw new Error(
          runId === undefined
            ? `Redis at ${addressText(address)} hides INFO server (run_id), without which a change of the server cannot be seen`
            : `The connections to ${addressText(address)} reached different servers`,
        );
      }
      if (previous?.runId === runId) await ask(control, [['client', 'kill', 'id', previous.commitId]]);
      const [replicationReply, memory] = await answers(address, commit, [
        ['info', 'replication'],
        ['info', 'memory'],
      ]);
      const info = parseReplicationInfo(replicationReply);
      if (info === undefined)
        throw new Error(
          `Redis at ${addressText(address)} hides INFO replication, without which no confirmation can be told`,
        );
      if (info.role !== 'master') throw new NotMasterError(address, info.role);
      const untracked = await track(commit, watcher, watcherId as number, onNotice);
      const [linkAnswer] = await ask(commit, [['client', 'list', 'type', 'replica']]);
      const links =
        previous?.runId === runId && previous.replid === info.replid
          ? previous.links
          : linkAgesFor(linkAnswer);
      return new Session(
        address,
        { runId, replid: info.replid, links, commitId: commitId as number },
        info,
        linkAnswer,
        evictionPolicyOf(memory),
        untracked,
        commit,
        control,
        watcher,
        clock,
        controlTimeout,
      );
    };
    try {
      return await Promise.race([setUp(), timeUp]);
    } catch (error) {
      gaveUp = true;
      for (const connection of opened) connection.close();
      throw error;
    } finally {
      stopClock();
    }
  }

  /** Sends on the commit connection. */
  sendCommit(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    this.commit.send(commands, onReply);
  }

  /** Asks on the control connection, which nothing blocks; a server that does not answer there is given up. */
  async askControl(commands: readonly Command[]): Promise<Reply[]> {
    const stopClock = this.clock.after(this.controlTimeout, () =>
      this.end(
        new Error(`Redis at ${addressText(this.address)} did not answer within ${this.controlTimeout} ms`),
      ),
    );
    try {
      return await ask(this.control, commands);
    } finally {
      stopClock();
    }
  }

  /** The call of a script, by its hash once the server knows it. */
  scriptCommand(script: Script, keys: readonly string[], args: readonly (string | number)[]): Command {
    const cached = this.cachedScripts.has(script);
    this.cachedScripts.add(script);
    return script.command(keys, args, cached);
  }

  /** The server lost its scripts: the next call brings the text again. */
  forgetScript(script: Script): void {
    this.cachedScripts.delete(script);
  }

  /** Ends the WAIT that blocks the commit connection; it answers its present count at once. */
  unblockCommit(): void {
    this.control.send([['client', 'unblock', this.run.commitId]], (reply) => {
      if (reply instanceof ErrorReply) this.canUnblock = false;
    });
  }

  get isLive(): boolean {
    return this.state === 'live';
  }

  onEnd(listener: (cause: unknown) => void): void {
    this.endListeners.push(listener);
  }

  /** Closes all three connections. What is pending is unknown. */
  end(cause: unknown): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    this.stopPinging();
    for (const connection of [this.commit, this.control, this.watcher]) connection.close();
    for (const listener of this.endListeners) listener(cause);
  }

  /** Notices stop silently where the watcher's host is gone, so it is asked now and then. */
  private pingWatcher(): void {
    this.stopPinging = this.clock.after(WATCHER_PING_TIME, () => {
      this.stopPinging = this.clock.after(WATCHER_PING_TIME, () =>
        this.end(
          new Error(
            `The watcher connection to ${addressText(this.address)} did not answer within ${WATCHER_PING_TIME} ms`,
          ),
        ),
      );
      this.watcher.send([['ping']], () => {
        this.stopPinging();
        if (this.isLive) this.pingWatcher();
      });
    });
  }
}

/** ms that connecting may take beside the questions that follow; the connector has its own, shorter limit. */
const CONNECT_ALLOWANCE = 10_000;

/** Redis refused a question that the session cannot do without. */
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

export class NotMasterError extends Error {
  constructor(address: Address, role: string) {
    super(
      `Redis at ${addressText(address)} is no master but a ${role === 'slave' ? 'replica' : role}: point the connection to the master, or use Sentinel`,
    );
  }
}

async function answers(
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

/** The policy by which the server may evict a lock; undefined where it never does. */
function evictionPolicyOf(memory: Reply | undefined): string | undefined {
  const limit = infoField(memory, 'maxmemory');
  const policy = infoField(memory, 'maxmemory_policy');
  return limit === undefined || limit === '0' || policy === undefined || policy === 'noeviction'
    ? undefined
    : policy;
}
