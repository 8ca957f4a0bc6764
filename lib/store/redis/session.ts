import type { Clock } from '../clock.js';
import {
  addressText,
  ask,
  ErrorReply,
  type Address,
  type Command,
  type Connection,
  type Reply,
} from './connection.js';
import type { LinkAges } from './link-ages.js';
import type { ReplicationInfo } from './replication-info.js';
import type { GroupScript, Script, ScriptCall } from './scripts/script.js';

/** ms between two questions to the watcher connection for a sign of life, and ms that it may take. */
const WATCHER_PING_TIME = 5_000;
/** ms that the commit connection may be blocked by the WAITs of two groups. */
const LONGEST_BLOCK = 2_000;

/** One run of one server: client ids, link ages and replication offsets mean something only within it. */
export interface Run {
  readonly runId: string;
  readonly replid: string;
  readonly links: LinkAges;
  /** The client id of the last commit connection to it. */
  readonly commitId: number;
}

/** What was found out while a session was opened. */
export interface Opened {
  readonly address: Address;
  readonly run: Run;
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
  private state: 'live' | 'ended' = 'live';
  private stopPinging: () => void = () => {};
  /** Whether a blocked WAIT can be ended from outside. */
  canUnblock = true;

  constructor(
    readonly opened: Opened,
    private readonly clock: Clock,
    /** ms that a question on the control connection may take; the server is given up after it. */
    private readonly controlTimeout: number,
  ) {
    for (const connection of this.connections) connection.onEnd((cause) => this.end(cause));
    if (this.isLive && opened.untracked === undefined) this.pingWatcher();
  }

  get address(): Address {
    return this.opened.address;
  }

  get run(): Run {
    return this.opened.run;
  }

  get isLive(): boolean {
    return this.state === 'live';
  }

  /** Sends on the commit connection. */
  sendCommit(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    this.opened.commit.send(commands, onReply);
  }

  /** Asks on the commit connection, behind what blocks it; a server that does not answer there is given up, too. */
  askCommit(commands: readonly Command[]): Promise<Reply[]> {
    return this.askOn(this.opened.commit, commands, LONGEST_BLOCK + this.controlTimeout);
  }

  /** Asks on the control connection, which nothing blocks; a server that does not answer there is given up. */
  askControl(commands: readonly Command[]): Promise<Reply[]> {
    return this.askOn(this.opened.control, commands, this.controlTimeout);
  }

  /** Ends the WAIT that blocks the commit connection; it answers its present count at once. */
  unblockCommit(): void {
    this.opened.control.send([['client', 'unblock', this.run.commitId]], (reply) => {
      if (reply instanceof ErrorReply) this.canUnblock = false;
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
    this.stopPinging();
    for (const connection of this.connections) connection.close();
    for (const listener of this.endListeners) listener(cause);
  }

  private get connections(): Connection[] {
    return [this.opened.commit, this.opened.control, this.opened.watcher];
  }

  private async askOn(
    connection: Connection,
    commands: readonly Command[],
    within: number,
  ): Promise<Reply[]> {
    const stopClock = this.clock.after(within, () => this.endSilent('It', within));
    try {
      return await ask(connection, commands);
    } finally {
      stopClock();
    }
  }

  private endSilent(who: string, ms: number): void {
    this.end(new Error(`${who} (${addressText(this.address)}) did not answer within ${ms} ms`));
  }

  /** Notices stop silently where the watcher's host is gone, so it is asked now and then. */
  private pingWatcher(): void {
    this.stopPinging = this.clock.after(WATCHER_PING_TIME, () => {
      this.stopPinging = this.clock.after(WATCHER_PING_TIME, () =>
        this.endSilent('The watcher connection', WATCHER_PING_TIME),
      );
      this.opened.watcher.send([['ping']], () => {
        this.stopPinging();
        if (this.isLive) this.pingWatcher();
      });
    });
  }
}
