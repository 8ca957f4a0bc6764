import type { Socket } from 'node:net';
import { LinkedList, type Linked } from '../../../common/linked-list.js';
import { ErrorReply, type Command, type Reply } from '../resp.js';
import { ask, type Connection } from './connection.js';
import { ConnectionEnd } from './connection-end.js';
import { encoded, ReplyReader } from './resp-codec.js';

/** Commands that were sent in one write, and whose replies are outstanding. */
interface SentCommands extends Linked<SentCommands> {
  readonly onReply: (reply: Reply, index: number) => void;
  readonly count: number;
  answered: number;
}

/**
 * A connection on a socket that is connected, authenticated, and owes no answer. Writes and reads
 * RESP 2 itself: a client library makes an object, a promise and a timer for each command, and that
 * took a third of the CPU time of a lock.
 */
export class SocketConnection implements Connection {
  private readonly sent = new LinkedList<SentCommands>();
  private readonly ending = new ConnectionEnd();
  private readonly onMessage = new Map<string, (payload: unknown) => void>();
  private error: unknown;

  constructor(
    private readonly socket: Socket,
    /** Closes the socket. */
    private readonly disconnect: () => void,
  ) {
    const reader = new ReplyReader((reply) => this.onReply(reply));
    const formerReaders = socket.listeners('data');
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.read(chunk);
      } catch (error) {
        this.end(error);
      }
    });
    for (const former of formerReaders) socket.off('data', former as (chunk: Buffer) => void);
    socket.on('error', (error) => (this.error ??= error));
    socket.once('close', () => this.end(this.error ?? new Error('Connection is closed.')));
  }

  /** SET and WAIT in separate segments can cost 40 ms each (Nagle and delayed acknowledgement). */
  send(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    if (this.ending.isReached || commands.length === 0) return;
    const count = commands.length;
    this.sent.append({ onReply, count, answered: 0, ahead: undefined, behind: undefined });
    this.socket.write(encoded(commands));
  }

  async subscribe(channel: string, onMessage: (payload: unknown) => void): Promise<void> {
    this.onMessage.set(channel, onMessage);
    const [reply] = await ask(this, [['subscribe', channel]]);
    if (reply instanceof ErrorReply) throw reply;
  }

  onEnd(listener: (cause: unknown) => void): () => void {
    return this.ending.onEnd(listener);
  }

  close(): void {
    this.end(new Error('Connection is closed.'));
  }

  private onReply(reply: Reply): void {
    if (this.ending.isReached) return;
    if (this.onMessage.size > 0 && Array.isArray(reply) && reply[0] === 'message') {
      this.onMessage.get(String(reply[1]))?.(reply[2]);
      return;
    }
    const sent = this.sent.first;
    if (sent === undefined) {
      this.end(
        reply instanceof ErrorReply
          ? reply
          : new Error(`the server sent an answer to no command: ${JSON.stringify(reply).slice(0, 80)}`),
      );
      return;
    }
    const index = sent.answered++;
    if (sent.answered === sent.count) this.sent.remove(sent);
    sent.onReply(reply, index);
  }

  private end(cause: unknown): void {
    this.ending.reach(cause, this.disconnect);
  }
}
