import { connect, type Socket } from 'node:net';
import { RespStream } from './resp.js';

export type Direction = 'requests' | 'replies';
const BOTH: readonly Direction[] = ['requests', 'replies'];

/** A value of the conversation, just before or just after it goes on to the other side. */
export interface Passed {
  readonly direction: Direction;
  readonly moment: 'before' | 'after';
  readonly value: Buffer;
}

/** One client's connection through a link. */
export class LinkConnection {
  /** When both sides are closed; while stalled, one that closes does not close the other. */
  readonly closed: Promise<unknown>;
  readonly #server: Socket;
  readonly #ways: Record<Direction, Way>;

  constructor(
    private readonly client: Socket,
    port: number,
    witness: (passed: Passed) => void,
  ) {
    const server = connect({ host: '127.0.0.1', port, noDelay: true });
    this.#server = server;
    client.setNoDelay(true);
    // Not read before the server is there, so that what is passed on has left this process: a cut right behind it loses nothing.
    client.pause();
    server.once('connect', () => client.resume());
    this.closed = Promise.all(
      [client, server].map((socket) => new Promise((resolve) => socket.once('close', resolve))),
    );
    this.#ways = {
      requests: new Way(client, server, (moment, value) => witness({ direction: 'requests', moment, value })),
      replies: new Way(server, client, (moment, value) => witness({ direction: 'replies', moment, value })),
    };
  }

  /** Whether the client has not closed its end, whatever of that the link lets through. */
  get isClientOpen(): boolean {
    return !this.client.closed;
  }

  /** Ends it at both sides; what is held back or under way is lost. */
  cut(): void {
    for (const direction of BOTH) this.#ways[direction].end();
    this.client.destroy();
    this.#server.destroy();
  }

  /** Holds all bytes of one way (default: both) back until `resume()`, and the end of the connection with them. */
  stall(...directions: Direction[]): void {
    for (const direction of directions.length > 0 ? directions : BOTH) this.#ways[direction].stall();
  }

  /** Lets through what was held back, in order. */
  resume(): void {
    for (const direction of BOTH) this.#ways[direction].resume();
  }

  /** Requests go on to the server and its answers vanish, until `cut()`. */
  dropReplies(): void {
    this.#ways.replies.drop();
  }
}

/** A piece of the stream; `completes` is the value whose last byte it has. */
interface Piece {
  readonly bytes: Buffer;
  readonly completes?: Buffer;
}

/** One direction: the bytes on their way from one socket to the other. */
class Way {
  #state: 'flowing' | 'stalled' | 'dropping' | 'ended' = 'flowing';
  #pieces: Piece[] = [];
  #sourceClosed = false;
  readonly #values = new RespStream();

  constructor(
    from: Socket,
    private readonly to: Socket,
    private readonly witness: (moment: 'before' | 'after', value: Buffer) => void,
  ) {
    from.on('data', (chunk: Buffer) => {
      this.#pieces.push(...this.#piecesOf(chunk));
      this.#passOn();
    });
    from.on('error', () => {});
    from.on('close', () => {
      this.#sourceClosed = true;
      this.#passOn();
    });
  }

  stall(): void {
    if (this.#state === 'flowing') this.#state = 'stalled';
  }

  resume(): void {
    if (this.#state !== 'stalled') return;
    this.#state = 'flowing';
    this.#passOn();
  }

  drop(): void {
    if (this.#state === 'ended') return;
    this.#state = 'dropping';
    this.#passOn();
  }

  end(): void {
    this.#state = 'ended';
    this.#pieces = [];
  }

  #piecesOf(chunk: Buffer): Piece[] {
    const pieces: Piece[] = [];
    let start = 0;
    for (const { value, end } of this.#values.push(chunk)) {
      pieces.push({ bytes: chunk.subarray(start, end), completes: value });
      start = end;
    }
    if (start < chunk.length) pieces.push({ bytes: chunk.subarray(start) });
    return pieces;
  }

  /** The state is looked at again before every piece, for a witness may cut or stall the connection. */
  #passOn(): void {
    while (this.#state === 'flowing' || this.#state === 'dropping') {
      const [piece] = this.#pieces;
      if (!piece) {
        if (this.#sourceClosed) this.to.end();
        return;
      }
      if (this.#state === 'dropping') this.#pieces.shift();
      else this.#pass(piece);
    }
  }

  #pass(piece: Piece): void {
    if (piece.completes) {
      // Announced once: it stays at the head if the witness stalls the connection.
      this.#pieces[0] = { bytes: piece.bytes };
      this.witness('before', piece.completes);
      if (this.#state !== 'flowing') return;
    }
    this.#pieces.shift();
    if (this.to.writable) this.to.write(piece.bytes);
    if (piece.completes) this.witness('after', piece.completes);
  }
}
