import type { Clock } from '../../../common/clock.js';
import { ask, type Connection } from './connection.js';
import { ErrorReply, addressText, type Address, type Command, type Reply } from '../resp.js';
import type { LinkAges } from '../replication/link-ages.js';
import { MonitoredConnection } from './monitored-connection.js';
import type { ReplicationInfo } from '../replication/replication-info.js';
import type { GroupScript, Script, ScriptCall } from '../scripts/script.js';

/** ms of silence after which the connection is given up; on the commit connection WAIT comes on top. */
const COMMIT_SILENCE = 1_000;
const WATCHER_SILENCE = 5_000;
/** ms without traffic after which PING is sent: often enough for a server whose `timeout` is one second. */
const PING_AFTER = 500;

/** One run of one server: client ids, link ages and replication offsets mean something only within it. */
export interface ServerRun {
  readonly runId: string;
  readonly replid: string;
  readonly links: LinkAges;
  /** The client id of the last commit connection to it. */
  readonly commitId: number;
}

/** What was found out while a session was opened. */
export interface Opened {
  readonly address: Address;
  readonly run: ServerRun;
  /** As the commit connection saw it at its start. */
  readonly firstInfo: ReplicationInfo;
  readonly firstLinkAnswer: Reply | undefined;
  /** The policy by which the server may evict a lock; undefined where it never does. */
  readonly evictionPolicy: string | undefined;
  /** Why changes of keys are not heard of; undefined where they are. */
  readonly untracked: ErrorReply | undefined;
  readonly commit: Connection;
  readonly control: Connection;
  readonly watcher: Connection;
}

/**
 * The three connections to one run of one master, which live and end together: *commit* carries the scripts and the WAITs that block it,
 * *control* everything that must not stand behind them, and *watcher* receives the notices that client tracking of the commit
 * connection redirects to it.
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
    /** ms of silence on the control connection after which the server is given up. */
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
   * Sends on the commit connection. UNBLOCKED is an answer to WAIT only. A script that answers so was
   * held back by CLIENT PAUSE, and Redis 7.0 runs it later with one answer too many: then nothing
   * that follows on this connection can be believed.
   */
  sendCommit(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    this.commit.send(commands, (reply, index) => {
      if (isUnblocked(reply) && commands[index]![0] !== 'wait') {
        this.end(new Error('a command that CLIENT PAUSE held back was unblocked, so its outcome is unknown'));
      } else onReply(reply, index);
    });
  }

  /** Asks on the commit connection, behind what blocks it. */
  askCommit(commands: readonly Command[]): Promise<Reply[]> {
    return ask(
      {
        send: (sent, onReply) => this.sendCommit(sent, onReply),
        onEnd: (listener) => this.commit.onEnd(listener),
      },
      commands,
    );
  }

  /** Asks on the control connection, which nothing blocks. */
  askControl(commands: readonly Command[]): Promise<Reply[]> {
    return ask(this.control, commands);
  }

  /**
   * Ends what blocks the commit connection; WAIT then answers UNBLOCKED. `onAnswer` hears whether
   * anything was ended. When this may be called: see `WaitEnding`.
   */
  unblockCommit(onAnswer: (hit: boolean) => void): void {
    this.control.send([['client', 'unblock', this.run.commitId, 'error']], (reply) => {
      if (reply instanceof ErrorReply) this.canUnblock = false;
      onAnswer(reply === 1);
    });
  }

  /** The call of a script, by its hash once the server knows it. */
  scriptCommand(script: Script, keys: readonly string[], args: readonly (string | number)[]): Command {
    const cached = this.cachedScripts.has(script);
    this.cachedScripts.add(script);
    return script.command(keys, args, cached);
  }

  /** The same for calls that travel together. */
  groupCommand<C extends ScriptCall>(script: GroupScript<C>, calls: readonly C[]): Command {
    return this.scriptCommand(script, script.keysOf(calls), script.argsOf(calls));
  }

  /** The server lost its scripts: the next call brings the text again. */
  forgetScript(script: Script): void {
    this.cachedScripts.delete(script);
  }

  onEnd(listener: (cause: unknown) => void): void {
    this.endListeners.push(listener);
  }

  /** Closes all three connections. What is pending is unknown. */
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

/** Whether CLIENT UNBLOCK, or the server's change of role, ended the command before its own answer. */
export function isUnblocked(reply: Reply): boolean {
  return reply instanceof ErrorReply && reply.code === 'UNBLOCKED';
}
