import { createServer, type Server, type Socket } from 'node:net';
import { LinkConnection, type Direction, type Passed } from './link-connection.js';
import { freePort } from './ports.js';

/**
 * What to wait for on a link: the n-th value from now on (1 is the next) or the first that contains this text. A request is
 * one command, a reply one whole answer; what a server pushes by itself counts as a reply.
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

/** What lies between clients and one server, to be cut, stalled and watched. Give clients its `port` or `url`. */
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

  /** Calls this with every connection from now on before a byte has passed: to watch it, or to refuse it with `cut()`. */
  onConnection(greet: Act): void {
    this.#greet = greet;
  }

  /** Ends every connection there is, at both sides. New ones are let through. */
  cut(): void {
    for (const connection of this.connections) connection.cut();
  }

  /**
   * Holds all bytes of one way (default: both) back, on new connections as well, and the end of a connection with them:
   * nobody answers, nobody hangs up. Until `resume()`.
   */
  stall(...directions: Direction[]): void {
    for (const direction of directions.length > 0 ? directions : (['requests', 'replies'] as const)) {
      this.#stalled.add(direction);
      for (const connection of this.connections) connection.stall(direction);
    }
  }

  /** Lets through what was held back, in order. */
  resume(): void {
    this.#stalled.clear();
    for (const connection of this.connections) connection.resume();
  }

  /** On the connections there are, requests go on to the server and its answers vanish. Then `cut()` them; new ones work. */
  dropReplies(): void {
    for (const connection of this.connections) connection.dropReplies();
  }

  /** Acts while the reply is withheld: after a `cut()` it never arrives. Resolves when that was done, as do the next three. */
  beforeReply(passing: Passing, act?: Act): Promise<void> {
    return this.#watch('replies', 'before', passing, act);
  }

  /** Acts when the reply was sent to the client, and nothing behind it. */
  afterReply(passing: Passing, act?: Act): Promise<void> {
    return this.#watch('replies', 'after', passing, act);
  }

  /** Acts while the command is withheld: after a `cut()` the server never sees it. */
  beforeRequest(passing: Passing, act?: Act): Promise<void> {
    return this.#watch('requests', 'before', passing, act);
  }

  /** Acts when the command was sent to the server, and nothing behind it. */
  afterRequest(passing: Passing, act?: Act): Promise<void> {
    return this.#watch('requests', 'after', passing, act);
  }

  /** Cuts every connection and accepts none any more. Idempotent. */
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
