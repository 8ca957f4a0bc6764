import type { Address, Command, Reply } from '../resp.js';

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
