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
  /**
   * Resolves when both sides are closed. While the connection is stalled, one side's close does not
   * close the other side.
   */
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
    // The client is not read before the server is connected. So bytes that were passed on have left
    // this process, and a cut right behind them loses nothing.
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

  /** True until the client closes the connection, even if the link does not pass that on. */
  get isClientOpen(): boolean {
    return !this.client.closed;
  }

  /** Ends both sides. Bytes that are held back or under way are lost. */
  cut(): void {
    for (const direction of BOTH) this.#ways[direction].end();
    this.client.destroy();
    this.#server.destroy();
  }

  /**
   * Holds back all bytes of one direction (default: both) until `resume()`, and the end of the
   * connection with them.
   */
  stall(...directions: Direction[]): void {
    for (const direction of directions.length > 0 ? directions : BOTH) this.#ways[direction].stall();
  }

  /** Passes on what was held back, in order. */
  resume(): void {
    for (const direction of BOTH) this.#ways[direction].resume();
  }

  /** From now until `cut()`, requests reach the server and the answers vanish. */
  dropReplies(): void {
    this.#ways.replies.drop();
  }
}

/** A piece of the stream. `completes` is the value whose last byte is in this piece. */
interface Piece {
  readonly bytes: Buffer;
  readonly completes?: Buffer;
}

/** One direction: bytes on their way from one socket to the other. */
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

  /**
   * Checks the state again before every piece, because a witness may cut or stall the connection.
   */
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
      // Announced once: the piece stays at the head if the witness stalls the connection.
      this.#pieces[0] = { bytes: piece.bytes };
      this.witness('before', piece.completes);
      if (this.#state !== 'flowing') return;
    }
    this.#pieces.shift();
    if (this.to.writable) this.to.write(piece.bytes);
    if (piece.completes) this.witness('after', piece.completes);
  }
}
