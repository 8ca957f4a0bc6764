import type { Clock } from '../../../common/clock.js';
import { connecting } from '../connection/connecting.js';
import { ask, type Connection, type Connector } from '../connection/connection.js';
import { ANSWER_TIME, POLL_TIME } from '../pauses.js';
import { ErrorReply, addressText, type Address, type Reply } from '../resp.js';
import { MonitoredConnection } from '../connection/monitored-connection.js';
import { RefusedError } from '../connection/error-replies.js';

/** What one Sentinel says about a master and the replicas. */
export interface SentinelView {
  /** `ip:port` of the master that the Sentinel names. */
  readonly master: string;
  /**
   * Grows with every fail-over: of two Sentinels that disagree, the one with the greater epoch is
   * right.
   */
  readonly epoch: number;
  /** All servers that the Sentinel knows, including the master and servers that are down. */
  readonly servers: ReadonlySet<string>;
  /** The servers that follow the master and are healthy. */
  readonly following: ReadonlySet<string>;
  /** From the address to the run id of each server that the Sentinel has ever reached. */
  readonly runIds: ReadonlyMap<string, string>;
}

/** ms without traffic after which PING is sent on the connection that waits for events. */
const EVENTS_PING_AFTER = 10_000;
/**
 * The longest pause in ms before the next try to connect to a Sentinel. The shortest is half of
 * that.
 */
const LONGEST_RECONNECT_PAUSE = 500;

/**
 * The two connections to one Sentinel, which end together: a subscribed connection takes no other
 * commands.
 */
interface ConnectionPair {
  readonly questions: Connection;
  readonly events: Connection;
}

type State =
  | { readonly kind: 'connecting'; readonly attempt: AbortController }
  | { readonly kind: 'asking'; readonly pair: ConnectionPair }
  /** Until the next poll. */
  | { readonly kind: 'waiting'; readonly pair: ConnectionPair; readonly stopTimer: () => void }
  /** Until the next try to connect. */
  | { readonly kind: 'away'; readonly stopTimer: () => void }
  | { readonly kind: 'closed' };

/**
 * Polls one Sentinel every second, and at once when the Sentinel publishes that a master
 * switched. `view` is the latest answer; undefined while the Sentinel does not answer, and then
 * `failure` says why.
 */
export class SentinelLink {
  view: SentinelView | undefined;
  failure: unknown;
  private state: State = { kind: 'away', stopTimer: () => {} };
  /** A poll was asked for while another one was under way, whose answer may be too old. */
  private isOutdated = false;

  constructor(
    readonly address: Address,
    private readonly name: string,
    private readonly connector: Connector,
    private readonly clock: Clock,
    private readonly onAnswer: () => void,
  ) {}

  open(): void {
    void this.connect();
  }

  /** Polls now, without waiting for the rest of the second. */
  askNow(): void {
    this.isOutdated = true;
    if (this.state.kind !== 'waiting') return;
    this.state.stopTimer();
    void this.poll(this.state.pair);
  }

  close(): void {
    const { state } = this;
    this.state = { kind: 'closed' };
    if (state.kind === 'connecting') state.attempt.abort(new Error('closed'));
    else if ('stopTimer' in state) state.stopTimer();
    if ('pair' in state) end(state.pair);
  }

  private async connect(): Promise<void> {
    const attempt = new AbortController();
    const { signal } = attempt;
    this.state = { kind: 'connecting', attempt };
    try {
      const pair = await connecting(this.connector, this.address, this.clock, signal, async (connect) => {
        const [questions, events] = await Promise.all([connect('sentinel'), connect('sentinel-events')]);
        await events.subscribe('+switch-master', () => this.askNow());
        return { questions: this.monitored(questions), events: this.monitored(events) };
      });
      if (signal.aborted) {
        end(pair);
        return;
      }
      const poll = this.poll(pair);
      for (const each of [pair.questions, pair.events]) each.onEnd((cause) => this.onEnd(pair, cause));
      await poll;
    } catch (error) {
      if (!signal.aborted)
        this.fail(error instanceof ErrorReply ? new RefusedError(this.address, error) : error);
    }
  }

  private async poll(pair: ConnectionPair): Promise<void> {
    this.isOutdated = false;
    this.state = { kind: 'asking', pair };
    const replies = await ask(pair.questions, [
      ['sentinel', 'get-master-addr-by-name', this.name],
      ['sentinel', 'master', this.name],
      ['sentinel', 'replicas', this.name],
    ]).catch(() => undefined);
    // `onEnd` handles the end of the connection.
    if (replies === undefined || this.state.kind !== 'asking' || this.state.pair !== pair) return;
    this.takeIn(replies);
    const stopTimer = this.clock.after(this.isOutdated ? 0 : POLL_TIME, () => this.askNow());
    this.state = { kind: 'waiting', pair, stopTimer };
    this.onAnswer();
  }

  private takeIn([address, master, replicas]: Reply[]): void {
    const refusal = [master, replicas].find((reply) => reply instanceof ErrorReply);
    if (refusal instanceof ErrorReply || !Array.isArray(address) || !Array.isArray(replicas)) {
      this.view = undefined;
      this.failure =
        refusal instanceof ErrorReply && !refusal.message.includes('No such master')
          ? new RefusedError(this.address, refusal)
          : new Error(`it knows no master named '${this.name}': check the option name`);
      return;
    }
    const fields = fieldsOf(master);
    const followers = replicas.map(fieldsOf);
    const servers = [fields, ...followers];
    const named = `${String(address[0])}:${String(address[1])}`;
    this.failure = undefined;
    this.view = {
      master: named,
      epoch: Number(fields.get('config-epoch') ?? 0),
      servers: new Set([named, ...servers.map(addressIn)]),
      following: new Set(followers.filter(isFollowing).map(addressIn)),
      runIds: new Map(servers.map((each) => [addressIn(each), each.get('runid') ?? ''])),
    };
  }

  private onEnd(pair: ConnectionPair, cause: unknown): void {
    const { state } = this;
    if (!('pair' in state) || state.pair !== pair) return;
    if ('stopTimer' in state) state.stopTimer();
    this.fail(cause);
    end(pair);
  }

  private monitored(connection: Connection): Connection {
    return new MonitoredConnection(connection, `Sentinel at ${addressText(this.address)}`, this.clock, {
      silenceLimit: ANSWER_TIME,
      pingAfter: EVENTS_PING_AFTER,
    });
  }

  private fail(cause: unknown): void {
    this.view = undefined;
    this.failure = cause;
    const pause = LONGEST_RECONNECT_PAUSE * (0.5 + Math.random() / 2);
    this.state = { kind: 'away', stopTimer: this.clock.after(pause, () => void this.connect()) };
    this.onAnswer();
  }
}

function end({ questions, events }: ConnectionPair): void {
  questions.close();
  events.close();
}

/** Reads a record of Sentinel, which is an array of name, value, name, value, ... */
export function fieldsOf(reply: Reply | undefined): Map<string, string> {
  const fields = new Map<string, string>();
  if (Array.isArray(reply))
    for (let i = 0; i + 1 < reply.length; i += 2) fields.set(String(reply[i]), String(reply[i + 1]));
  return fields;
}

export function addressIn(fields: ReadonlyMap<string, string>): string {
  return `${fields.get('ip')}:${fields.get('port')}`;
}

function isFollowing(fields: ReadonlyMap<string, string>): boolean {
  return fields.get('flags') === 'slave' && fields.get('master-link-status') === 'ok';
}
