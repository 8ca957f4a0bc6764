import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Server } from './subject.js';

/*
 * A connection to Redis without a client library: RESP 2, written and read by hand. The floors use
 * this connection. The code shares nothing with the library, so a fault there cannot hide here.
 */

export type Reply = number | string | null | Error | readonly Reply[];

/** One command in RESP. */
export function command(...args: readonly string[]): string {
  let text = `*${args.length}\r\n`;
  for (const arg of args) text += `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`;
  return text;
}

interface Request {
  readonly replies: Reply[];
  readonly count: number;
  readonly resolve: (replies: readonly Reply[]) => void;
  readonly reject: (error: Error) => void;
}

export class RawConnection {
  private readonly sent: Request[] = [];
  /** The index in `sent` of the first request that lacks replies. */
  private first = 0;
  private readonly reader = new ReplyReader((reply) => this.onReply(reply));

  static async open({ host, port }: Server): Promise<RawConnection> {
    const socket = connect({ host, port, noDelay: true });
    await once(socket, 'connect');
    return new RawConnection(socket);
  }

  private constructor(private readonly socket: Socket) {
    socket.on('data', (chunk) => this.reader.push(chunk));
    socket.on('error', () => {});
    socket.once('close', () => {
      for (const { reject } of this.sent.splice(0)) reject(new Error('The connection to Redis has ended'));
      this.first = 0;
    });
  }

  /** Writes `count` commands in one piece. Resolves with their replies, errors among them. */
  request(commands: string, count: number): Promise<readonly Reply[]> {
    return new Promise((resolve, reject) => {
      this.sent.push({ replies: [], count, resolve, reject });
      this.socket.write(commands);
    });
  }

  close(): void {
    this.socket.destroy();
  }

  private onReply(reply: Reply): void {
    const request = this.sent[this.first];
    if (request === undefined) return;
    request.replies.push(reply);
    if (request.replies.length < request.count) return;
    request.resolve(request.replies);
    if (++this.first < this.sent.length) return;
    this.sent.length = 0;
    this.first = 0;
  }
}

const CR = 13;
const MINUS = 45;
const ZERO = 48;
const NOTHING = Buffer.alloc(0);

/** Reads replies from a stream that arrives in any pieces. */
export class ReplyReader {
  private bytes: Buffer = NOTHING;
  private at = 0;

  constructor(private readonly onReply: (reply: Reply) => void) {}

  push(chunk: Buffer): void {
    this.bytes = this.bytes.length === 0 ? chunk : Buffer.concat([this.bytes, chunk]);
    this.at = 0;
    let complete = 0;
    for (let reply = this.read(); reply !== undefined; reply = this.read()) {
      complete = this.at;
      this.onReply(reply);
    }
    this.bytes = complete === this.bytes.length ? NOTHING : this.bytes.subarray(complete);
  }

  /** The reply at the current place. Undefined if the rest of the reply has not arrived. */
  private read(): Reply | undefined {
    const { bytes } = this;
    const start = this.at;
    let end = start + 1;
    while (end < bytes.length && bytes[end] !== CR) end++;
    if (end + 1 >= bytes.length) return undefined;
    this.at = end + 2;
    switch (String.fromCharCode(bytes[start]!)) {
      case ':':
        return this.numberIn(start + 1, end);
      case '+':
        return bytes.toString('latin1', start + 1, end);
      case '-':
        return new Error(bytes.toString('latin1', start + 1, end));
      case '$':
        return this.bulkOf(this.numberIn(start + 1, end));
      case '*':
        return this.arrayOf(this.numberIn(start + 1, end));
      default:
        throw new Error(`Not a RESP 2 reply: ${bytes.toString('latin1', start, end)}`);
    }
  }

  private bulkOf(length: number): Reply | undefined {
    if (length < 0) return null;
    const end = this.at + length;
    if (end + 2 > this.bytes.length) return undefined;
    const text = this.bytes.toString('latin1', this.at, end);
    this.at = end + 2;
    return text;
  }

  private arrayOf(length: number): Reply | undefined {
    if (length < 0) return null;
    const replies: Reply[] = [];
    for (let i = 0; i < length; i++) {
      const reply = this.read();
      if (reply === undefined) return undefined;
      replies.push(reply);
    }
    return replies;
  }

  private numberIn(start: number, end: number): number {
    const isNegative = this.bytes[start] === MINUS;
    let value = 0;
    for (let i = isNegative ? start + 1 : start; i < end; i++) value = value * 10 + this.bytes[i]! - ZERO;
    return isNegative ? -value : value;
  }
}
