import type { Clock } from '../clock.js';
import { ask, ErrorReply, type Address, type Connection, type Connector, type Reply } from './connection.js';
import { RefusedError } from './open-session.js';

/** What one Sentinel says of a master and its replicas. */
export interface SentinelView {
  /** `ip:port` of the master that it names. */
  readonly master: string;
  /** Grows with every fail-over: of two Sentinels that disagree the one with the greater epoch is right. */
  readonly epoch: number;
  /** All servers that it knows, the master and those that are down included. */
  readonly servers: ReadonlySet<string>;
}

/** ms between two questions, and ms that one may take. */
const POLL_TIME = 1_000;
const ANSWER_TIME = 1_000;
/** ms before the next try to connect to a Sentinel that is away. */
const RECONNECT_TIME = 500;

/**
 * Asks one Sentinel every second, and at once when it says that something switched. `view` is its latest answer; undefined while it does not answer, and
 * `trouble` says why.
 */
export class SentinelLink {
  view: SentinelView | undefined;
  trouble: unknown;
  private connection: Connection | undefined;
  private state: 'connecting' | 'asking' | 'waiting' | 'closed' = 'connecting';
  /** Something happened while a question was out: its answer may be older. */
  private isOutdated = false;
  private stopClock: () => void = () => {};
  private closeMade: () => void = () => {};

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

  /** Asks now instead of at the next turn. */
  askNow(): void {
    this.isOutdated = true;
    if (this.state !== 'waiting' || this.connection === undefined) return;
    this.stopClock();
    void this.poll(this.connection);
  }

  close(): void {
    this.state = 'closed';
    this.stopClock();
    this.closeMade();
  }

  private async connect(): Promise<void> {
    const made: Connection[] = [];
    try {
      this.state = 'connecting';
      for (const label of ['sentinel', 'sentinel-events'])
        made.push(await this.connector.connect(this.address, label));
      if (this.isClosed) {
        for (const connection of made) connection.close();
        return;
      }
      const [connection, events] = made as [Connection, Connection];
      // A Sentinel that hangs accepts connections, and answers nothing.
      this.stopClock = this.clock.after(ANSWER_TIME, () => events.close());
      this.closeMade = () => made.forEach((each) => each.close());
      await events.subscribe('+switch-master', () => this.askNow());
      this.stopClock();
      if (this.isClosed) return;
      const end = (cause: unknown): void => {
        for (const each of made) each.close();
        this.lost(connection, cause);
      };
      this.connection = connection;
      for (const each of made) each.onEnd(end);
      await this.poll(connection);
    } catch (error) {
      for (const connection of made) connection.close();
      this.lost(this.connection, error instanceof ErrorReply ? new RefusedError(this.address, error) : error);
    }
  }

  private async poll(connection: Connection): Promise<void> {
    this.state = 'asking';
    this.isOutdated = false;
    this.stopClock = this.clock.after(ANSWER_TIME, () => connection.close());
    try {
      const replies = await ask(connection, [
        ['sentinel', 'get-master-addr-by-name', this.name],
        ['sentinel', 'master', this.name],
        ['sentinel', 'replicas', this.name],
      ]);
      if (this.isClosed || this.connection !== connection) return;
      this.stopClock();
      this.take(replies);
      this.state = 'waiting';
      this.stopClock = this.clock.after(this.isOutdated ? 0 : POLL_TIME, () => this.askNow());
      this.onAnswer();
    } catch {
      // The connection's end is told by its own event.
    }
  }

  private take([address, master, replicas]: Reply[]): void {
    const refusal = [master, replicas].find((reply) => reply instanceof ErrorReply);
    if (refusal instanceof ErrorReply || !Array.isArray(address) || !Array.isArray(replicas)) {
      this.view = undefined;
      this.trouble =
        refusal instanceof ErrorReply && !refusal.message.includes('No such master')
          ? new RefusedError(this.address, refusal)
          : new Error(`it knows no master named '${this.name}': check the option name`);
      return;
    }
    const fields = fieldsOf(master);
    const servers = [fields, ...replicas.map(fieldsOf)].map(
      (each) => `${each.get('ip')}:${each.get('port')}`,
    );
    const named = `${String(address[0])}:${String(address[1])}`;
    this.trouble = undefined;
    this.view = {
      master: named,
      epoch: Number(fields.get('config-epoch') ?? 0),
      servers: new Set([named, ...servers]),
    };
  }

  private lost(connection: Connection | undefined, cause: unknown): void {
    if (this.isClosed || this.connection !== connection) return;
    this.connection = undefined;
    this.view = undefined;
    this.trouble = cause;
    this.stopClock();
    this.stopClock = this.clock.after(RECONNECT_TIME * (0.5 + Math.random() / 2), () => void this.connect());
    this.onAnswer();
  }

  private get isClosed(): boolean {
    return this.state === 'closed';
  }
}

/** Sentinel answers its records as name, value, name, value, ... */
function fieldsOf(reply: Reply | undefined): Map<string, string> {
  const fields = new Map<string, string>();
  if (Array.isArray(reply))
    for (let i = 0; i + 1 < reply.length; i += 2) fields.set(String(reply[i]), String(reply[i + 1]));
  return fields;
}
