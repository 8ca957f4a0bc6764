import type { Clock } from '../../../common/clock.js';
import { ask, type Connection } from './connection.js';
import { ErrorReply, addressText, type Address, type Command, type Reply } from '../resp.js';
import type { LinkAges } from '../replication/link-ages.js';
import { MonitoredConnection } from './monitored-connection.js';
import type { ReplicationInfo } from '../replication/replication-info.js';
import type { GroupScript, Script, ScriptCall } from '../scripts/script.js';

/** ms of silence after which the commit connection is given up. The time of WAIT is added. */
const COMMIT_SILENCE = 1_000;
/** The same for the watcher connection, which sends only PING. */
const WATCHER_SILENCE = 5_000;
/** ms without traffic after which PING is sent: often enough for a server with `timeout 1` (s). */
const PING_AFTER = 500;

/**
 * One run of one server. Client ids, link ages and replication offsets have a meaning only within
 * a run.
 */
export interface ServerRun {
  readonly runId: string;
  readonly replid: string;
  readonly links: LinkAges;
  /** The client id of the last commit connection to this run. */
  readonly commitId: number;
}

/** The connections of a new session, and what the server told while they were set up. */
export interface Opened {
  readonly address: Address;
  readonly run: ServerRun;
  /** The first answer to INFO replication on the commit connection. */
  readonly firstInfo: ReplicationInfo;
  readonly firstLinkAnswer: Reply | undefined;
  /** The policy by which the server may evict a lock; undefined if the server never evicts. */
  readonly evictionPolicy: string | undefined;
  /** Why the server does not notify of changed keys; undefined if the server does. */
  readonly untracked: ErrorReply | undefined;
  readonly commit: Connection;
  readonly control: Connection;
  readonly watcher: Connection;
}

/**
 * The three connections to one run of one master, which begin and end together:
 *
 *   - *commit* carries the scripts, and each WAIT, which blocks this connection.
 *   - *control* carries everything that must not wait behind a WAIT.
 *   - *watcher* receives the notices of client tracking, which the commit connection redirects.
 */
export class Session {
  private readonly endListeners: ((cause: unknown) => void)[] = [];
  private readonly cachedScripts = new Set<Script>();
  private readonly commit: Connection;
  private readonly control: Connection;
  private readonly watcher: Connection;
  private state: 'live' | 'ended' = 'live';
  /** Whether a blocked WAIT can be ended from outside. */
  canUnblock = true;

  constructor(
    readonly opened: Opened,
    clock: Clock,
    /** ms of silence on the control connection after which the session ends. */
    controlSilence: number,
  ) {
    const monitored = (role: 'commit' | 'control' | 'watcher', silenceLimit: number): Connection => {
      const name = `Redis at ${addressText(opened.address)} (${role} connection)`;
      return new MonitoredConnection(opened[role], name, clock, { silenceLimit, pingAfter: PING_AFTER });
    };
    this.commit = monitored('commit', COMMIT_SILENCE);
    this.control = monitored('control', controlSilence);
    this.watcher = monitored('watcher', WATCHER_SILENCE);
    for (const connection of this.connections) connection.onEnd((cause) => this.end(cause));
  }

  get address(): Address {
    return this.opened.address;
  }

  get run(): ServerRun {
    return this.opened.run;
  }

  get isLive(): boolean {
    return this.state === 'live';
  }

  /**
   * Sends on the commit connection. Only WAIT may answer UNBLOCKED. A script that answers
   * UNBLOCKED was held back by CLIENT PAUSE. Redis 7.0 runs that script later and answers once
   * too often, so no later answer on this connection can be trusted.
   */
  sendCommit(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    this.commit.send(commands, (reply, index) => {
      if (isUnblocked(reply) && commands[index]![0] !== 'wait') {
        this.end(new Error('a command that CLIENT PAUSE held back was unblocked, so its outcome is unknown'));
      } else onReply(reply, index);
    });
  }

  /** Asks on the commit connection, behind the WAIT that may block it. */
  askCommit(commands: readonly Command[]): Promise<Reply[]> {
    return ask(
      {
        send: (sent, onReply) => this.sendCommit(sent, onReply),
        onEnd: (listener) => this.commit.onEnd(listener),
      },
      commands,
    );
  }

  /** Asks on the control connection, which no WAIT blocks. */
  askControl(commands: readonly Command[]): Promise<Reply[]> {
    return ask(this.control, commands);
  }

  /**
   * Ends the WAIT that blocks the commit connection, which then answers UNBLOCKED. `onAnswer`
   * gets whether there was such a WAIT. For when this may be called see `UnblockRules`.
   */
  unblockCommit(onAnswer: (hit: boolean) => void): void {
    this.control.send([['client', 'unblock', this.run.commitId, 'error']], (reply) => {
      if (reply instanceof ErrorReply) this.canUnblock = false;
      onAnswer(reply === 1);
    });
  }

  /** The call of a script: by its text the first time, then by its hash. */
  scriptCommand(script: Script, keys: readonly string[], args: readonly (string | number)[]): Command {
    const cached = this.cachedScripts.has(script);
    this.cachedScripts.add(script);
    return script.command(keys, args, cached);
  }

  /** One call of a script for several requests. */
  groupCommand<C extends ScriptCall>(script: GroupScript<C, unknown>, calls: readonly C[]): Command {
    return this.scriptCommand(script, script.keysOf(calls), script.argsOf(calls));
  }

  /** The server has lost the script: the next call sends the text again. */
  forgetScript(script: Script): void {
    this.cachedScripts.delete(script);
  }

  onEnd(listener: (cause: unknown) => void): void {
    this.endListeners.push(listener);
  }

  /** Closes all three connections. The outcome of unanswered commands is unknown. */
  end(cause: unknown): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    for (const connection of this.connections) connection.close();
    for (const listener of this.endListeners) listener(cause);
  }

  private get connections(): Connection[] {
    return [this.commit, this.control, this.watcher];
  }
}

/**
 * Whether CLIENT UNBLOCK, or the server's change of role, ended a command before its own answer.
 */
export function isUnblocked(reply: Reply): boolean {
  return reply instanceof ErrorReply && reply.code === 'UNBLOCKED';
}
