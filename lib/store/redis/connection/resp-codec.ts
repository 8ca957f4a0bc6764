import { ErrorReply, type Command, type Reply } from '../resp.js';

/** The lengths of short arguments, as they are sent: made once, not for each argument. */
const LENGTHS = Array.from({ length: 128 }, (_, length) => `$${length}\r\n`);

/**
 * The commands as RESP, the protocol of Redis:
 * https://redis.io/docs/latest/develop/reference/protocol-spec/
 */
export function encoded(commands: readonly Command[]): string {
  let text = '';
  for (const command of commands) {
    text += `*${command.length}\r\n`;
    for (const part of command) {
      const argument = typeof part === 'string' ? part : String(part);
      const length = Buffer.byteLength(argument);
      text += (LENGTHS[length] ?? `$${length}\r\n`) + argument + '\r\n';
    }
  }
  return text;
}

/** The bytes that have a meaning in the protocol. */
const LF = 10;
const CR = 13;
const DOLLAR = 36;
const ASTERISK = 42;
const PLUS = 43;
const MINUS = 45;
const ZERO = 48;
const NINE = 57;
const COLON = 58;

const NOTHING: Buffer = Buffer.alloc(0);

/** What was received cannot be RESP 2: no later byte on this connection has a known meaning. */
class ProtocolError extends Error {
  constructor(data: Buffer, at: number) {
    const found = JSON.stringify(data.toString('latin1', at, at + 40));
    super(`the server's answer is not in the protocol of Redis: ${found}`);
  }
}

/**
 * Decodes RESP 2 from chunks that may end anywhere. A reply that is not complete is decoded again
 * from its start when more has come, but not before its longest string can be complete.
 */
export class ReplyReader {
  /** The bytes of the incomplete reply. */
  private chunks: Buffer[] = [];
  private received = 0;
  /** The incomplete reply has at least so many bytes. */
  private needed = 0;
  private data: Buffer = NOTHING;
  private at = 0;

  constructor(private readonly onReply: (reply: Reply) => void) {}

  /** @throws {Error} if the chunk cannot be RESP 2. */
  read(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.received += chunk.length;
    if (this.received < this.needed) return;
    this.data = this.chunks.length === 1 ? chunk : Buffer.concat(this.chunks);
    this.at = 0;
    this.needed = 0;
    let start = 0;
    while (start < this.data.length) {
      const reply = this.next();
      if (reply === undefined) break;
      start = this.at;
      this.onReply(reply);
    }
    this.chunks = start < this.data.length ? [this.data.subarray(start)] : [];
    this.received = this.data.length - start;
    this.needed = Math.max(0, this.needed - start);
    this.data = NOTHING;
  }

  /** The reply that begins at `at`; undefined if the reply is not complete. */
  private next(): Reply | undefined {
    const { data } = this;
    const type = data[this.at++];
    switch (type) {
      case COLON:
        return this.integer();
      case DOLLAR:
        return this.string();
      case ASTERISK:
        return this.array();
      case PLUS:
        return this.line();
      case MINUS: {
        const message = this.line();
        return message === undefined ? undefined : new ErrorReply(message);
      }
      case undefined:
        return undefined;
      default:
        throw new ProtocolError(data, this.at - 1);
    }
  }

  private integer(): number | undefined {
    const { data } = this;
    const start = this.at;
    const isNegative = data[start] === MINUS;
    const first = isNegative ? start + 1 : start;
    let value = 0;
    for (let i = first; i < data.length; i++) {
      const byte = data[i]!;
      if (byte >= ZERO && byte <= NINE) value = value * 10 + byte - ZERO;
      else if (byte === CR && i > first) return this.isEnd(i) ? (isNegative ? -value : value) : undefined;
      else throw new ProtocolError(data, start - 1);
    }
    return undefined;
  }

  private string(): string | null | undefined {
    const length = this.integer();
    if (length === undefined) return undefined;
    if (length === -1) return null;
    const start = this.at;
    const end = start + length;
    if (end + 2 > this.data.length) {
      this.needed = end + 2;
      return undefined;
    }
    return this.isEnd(end) ? this.data.toString('utf8', start, end) : undefined;
  }

  private array(): Reply[] | null | undefined {
    const length = this.integer();
    if (length === undefined) return undefined;
    if (length === -1) return null;
    const replies: Reply[] = [];
    while (replies.length < length) {
      const reply = this.next();
      if (reply === undefined) return undefined;
      replies.push(reply);
    }
    return replies;
  }

  private line(): string | undefined {
    const start = this.at;
    const end = this.data.indexOf(CR, start);
    return end !== -1 && this.isEnd(end) ? this.data.toString('utf8', start, end) : undefined;
  }

  /**
   * Moves behind the end of line at `end`. False if the end of line is not complete.
   */
  private isEnd(end: number): boolean {
    const { data } = this;
    if (data.length < end + 2) return false;
    if (data[end] !== CR || data[end + 1] !== LF) throw new ProtocolError(data, end);
    this.at = end + 2;
    return true;
  }
}
