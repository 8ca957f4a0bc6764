import { createServer, type Server, type Socket } from 'node:net';
import { LinkConnection, type Direction, type Passed } from './link-connection.js';
import { freePort } from './ports.js';

/**
 * What to wait for on a link: the n-th value from now on (1 is the next), or the first value that
 * contains this text. A request is one command, a reply one whole answer. A push of the server
 * counts as a reply.
 */
export type Passing = number | string;

type Act = (connection: LinkConnection) => void;

interface Watch {
  readonly direction: Direction;
  readonly moment: Passed['moment'];
  readonly isIt: (value: Buffer) => boolean;
  readonly act: Act;
}

const BIND_ATTEMPTS = 5;

/**
 * A proxy between clients and one server, which can be cut, stalled and watched. Clients use `port`
 * or `url`.
 */
export class Link {
  /** Connections that clients have made so far. */
  accepted = 0;
  readonly connections = new Set<LinkConnection>();
  readonly #stalled = new Set<Direction>();
  #watches: Watch[] = [];
  #greet: Act = () => {};

  static async to(server: { readonly port: number }): Promise<Link> {
    for (let attempt = 1; ; attempt += 1) {
      const link = new Link(server.port, await freePort());
      try {
        await link.#listen();
        return link;
      } catch (error) {
        if (attempt >= BIND_ATTEMPTS) throw error;
      }
    }
  }

  readonly #listener: Server = createServer((client) => this.#accept(client));

  private constructor(
    private readonly target: number,
    readonly port: number,
  ) {}

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get url(): string {
    return `redis://${this.address}`;
  }

  /**
   * Calls `greet` with every new connection before a byte has passed: to watch the connection, or
   * to refuse it with `cut()`.
   */
  onConnection(greet: Act): void {
    this.#greet = greet;
  }

  /** Ends every present connection on both sides. New connections are accepted. */
  cut(): void {
    for (const connection of this.connections) connection.cut();
  }

  /**
   * Holds back all bytes of one direction (default: both), on new connections too, until
   * `resume()`. The end of a connection is held back with them: neither side gets an answer or a
   * close.
   */
  stall(...directions: Direction[]): void {
    for (const direction of directions.length > 0 ? directions : (['requests', 'replies'] as const)) {
      this.#stalled.add(direction);
      for (const connection of this.connections) connection.stall(direction);
    }
  }

  /** Passes on what was held back, in order. */
  resume(): void {
    this.#stalled.clear();
    for (const connection of this.connections) connection.resume();
  }

  /**
   * On the present connections, requests reach the server and the answers vanish. End these
   * connections with `cut()`. New connections work.
   */
  dropReplies(): void {
    for (const connection of this.connections) connection.dropReplies();
  }

  /**
   * Acts while the reply is withheld: after a `cut()` the reply never arrives. Resolves when `act`
   * has run, like the next three methods.
   */
  beforeReply(passing: Passing, act?: Act): Promise<void> {
    return this.#watch('replies', 'before', passing, act);
  }

  /** Acts when the reply was sent to the client, but nothing behind the reply. */
  afterReply(passing: Passing, act?: Act): Promise<void> {
    return this.#watch('replies', 'after', passing, act);
  }

  /** Acts while the command is withheld: after a `cut()` the server never gets the command. */
  beforeRequest(passing: Passing, act?: Act): Promise<void> {
    return this.#watch('requests', 'before', passing, act);
  }

  /** Acts when the command was sent to the server, but nothing behind the command. */
  afterRequest(passing: Passing, act?: Act): Promise<void> {
    return this.#watch('requests', 'after', passing, act);
  }

  /** Cuts every connection and accepts no new one. Idempotent. */
  async dispose(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#listener.close(() => resolve());
    });
    this.cut();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen(this.port, '127.0.0.1', () => resolve());
      this.#listener.unref();
    });
  }

  #accept(client: Socket): void {
    this.accepted += 1;
    const connection: LinkConnection = new LinkConnection(client, this.target, (passed) =>
      this.#witness(connection, passed),
    );
    this.connections.add(connection);
    void connection.closed.then(() => this.connections.delete(connection));
    for (const direction of this.#stalled) connection.stall(direction);
    this.#greet(connection);
  }

  #watch(
    direction: Direction,
    moment: Passed['moment'],
    passing: Passing,
    act: Act = () => {},
  ): Promise<void> {
    let left = typeof passing === 'number' ? passing : 1;
    const isIt = (value: Buffer): boolean =>
      typeof passing === 'number' ? --left === 0 : value.includes(passing);
    return new Promise((resolve) => {
      this.#watches.push({
        direction,
        moment,
        isIt,
        act: (connection) => {
          act(connection);
          resolve();
        },
      });
    });
  }

  #witness(connection: LinkConnection, { direction, moment, value }: Passed): void {
    const due = this.#watches.filter(
      (watch) => watch.direction === direction && watch.moment === moment && watch.isIt(value),
    );
    this.#watches = this.#watches.filter((watch) => !due.includes(watch));
    for (const { act } of due) act(connection);
  }
}
