import type { Address, Command, Reply } from '../resp.js';

/**
 * One TCP connection to one Redis server, until the connection ends. Nothing is queued, nothing
 * is sent twice, and an ended connection is not replaced. Otherwise a client library could send
 * WAIT again on a new connection, and WAIT could answer with a full count although that
 * connection wrote nothing.
 */
export interface Connection {
  /**
   * Sends the commands in one write. Calls `onReply` once for each command, in their order, as
   * the answers come in. There is no call for commands that are unanswered when the connection
   * ends.
   */
  send(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void;
  /** Subscribes to the channel, and calls `onMessage` with the payload of each of its messages. */
  subscribe(channel: string, onMessage: (payload: unknown) => void): Promise<void>;
  /**
   * Calls the listener once when the connection ends for any reason, including `close`. Returns a
   * function that removes the listener.
   */
  onEnd(listener: (cause: unknown) => void): () => void;
  close(): void;
}

/** Makes connections to the servers of one deployment, with their credentials and TLS settings. */
export interface Connector {
  /**
   * ms that connecting to a server may take, including the questions that set the connection up.
   */
  readonly connectTimeout: number;
  /**
   * Makes a connection that the server has accepted and authenticated. Rejects with the reason if
   * that fails. Rejects soon after `signal` aborts, and destroys the socket. Has no time limit of
   * its own, see `connecting`. CLIENT LIST shows `label`.
   */
  connect(address: Address, label: string, signal: AbortSignal): Promise<Connection>;
}

/**
 * Sends the commands and collects all replies; rejects if the connection ends before the last
 * one.
 */
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
