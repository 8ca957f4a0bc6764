/**
 * One TCP connection to one Redis server, for as long as it lives: nothing is queued while it is not there, nothing is sent a second time,
 * and it is never made anew. A WAIT that a client library sends again on a fresh connection can answer with a full
 * count although that connection wrote nothing.
 */
export interface Connection {
  /**
   * Sends the commands in one write. `onReply` is called once for each of them in their order, as the answers come in;
   * not at all for those that the connection's end left unanswered.
   */
  send(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void;
  /** Subscribes, and from then on calls `onMessage` with the payload of every message of the channel. */
  subscribe(channel: string, onMessage: (payload: unknown) => void): Promise<void>;
  /** Called once, when the connection has ended for whatever reason, `close` included. Returns how to stop listening. */
  onEnd(listener: (cause: unknown) => void): () => void;
  close(): void;
}

export type Command = readonly [name: string, ...args: (string | number)[]];

/** What Redis answered, decoded from RESP 2. An error reply is a value here: the command was heard and refused. */
export type Reply = string | number | null | Reply[] | ErrorReply;

/** An error that Redis answered, such as `NOPERM this user has no permissions ...`. */
export class ErrorReply {
  constructor(readonly message: string) {}

  /** The upper-case word it begins with. */
  get code(): string {
    return /^[A-Z]+/.exec(this.message)?.[0] ?? 'ERR';
  }

  /** The server turns this client away and closes the connection. */
  get isFarewell(): boolean {
    return /^DENIED |max number of clients/.test(this.message);
  }
}

export interface Address {
  readonly host: string;
  readonly port: number;
  /** A unix socket, in place of host and port. */
  readonly path?: string;
}

/** Makes connections to the servers of one deployment, with their credentials and TLS settings. */
export interface Connector {
  /** ms that connecting to a server may take, the questions that set the connection up included. */
  readonly connectTimeout: number;
  /**
   * Makes a connection that the server has accepted and authenticated. Rejects with the reason if that fails, and soon after `signal` aborts: the
   * socket is destroyed then. Has no time limit of its own, see `Connecting`. CLIENT LIST shows `label`.
   */
  connect(address: Address, label: string, signal: AbortSignal): Promise<Connection>;
}

export function addressText({ host, port, path }: Address): string {
  return path ?? (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
}

/** Sends the commands and gathers all replies; rejects where the connection ends before. */
export function ask(
  connection: Pick<Connection, 'send' | 'onEnd'>,
  commands: readonly Command[],
): Promise<Reply[]> {
  return new Promise((resolve, reject) => {
    const replies: Reply[] = [];
    const stopListening = connection.onEnd(reject);
    connection.send(commands, (reply) => {
      if (replies.push(reply) < commands.length) return;
      stopListening();
      resolve(replies);
    });
  });
}
