import type { ServerResponse } from 'node:http';
import { BOARD_HEADERS } from './board-headers.js';

/** ms for which a reader may take nothing. */
const LONGEST_STALL = 30_000;

/** The response of Express, or the reply of Fastify with Node's response inside. */
export type StreamResponse = ServerResponse | { readonly raw: ServerResponse; hijack(): unknown };

/**
 * Server-sent events for one page: https://html.spec.whatwg.org/multipage/server-sent-events.html.
 * Written to Node's response, so that no interceptor of the application wraps or ends them.
 */
export class EventStream {
  /** The id of the last event that was sent. */
  lastSeen = 0;
  private readonly response: ServerResponse;
  /** The monotonic instant since which the reader has taken nothing. */
  private stalledAt: number | undefined;

  constructor(response: StreamResponse, onClose: () => void) {
    if ('hijack' in response) response.hijack();
    this.response = 'raw' in response ? response.raw : response;
    this.response.on('close', onClose);
    this.response.on('error', () => {});
    this.response.on('drain', () => (this.stalledAt = undefined));
    this.response.writeHead(200, {
      ...BOARD_HEADERS,
      'content-type': 'text/event-stream; charset=utf-8',
      // Neither compressed nor buffered on the way. The socket ends with the stream: a server that
      // shuts down waits for open connections.
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
      connection: 'close',
    });
    // HEAD: the headers are the whole answer.
    if (this.response.req.method === 'HEAD') this.response.end();
  }

  /** True if nothing can be sent any more. */
  get isGone(): boolean {
    return this.response.destroyed || this.response.writableEnded;
  }

  /**
   * True as long as the reader has not taken what was sent: nothing more is sent then, so a slow
   * reader costs no memory. A reader that takes nothing for long is disconnected.
   */
  isBehind(): boolean {
    if (this.stalledAt === undefined) return false;
    if (performance.now() - this.stalledAt > LONGEST_STALL) this.response.destroy();
    return true;
  }

  /** @param data is sent as JSON, which has no line breaks. */
  send(event: string, data: unknown): void {
    if (this.response.writableEnded) return;
    const isTaken = this.response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    if (!isTaken) this.stalledAt ??= performance.now();
  }

  end(): void {
    this.response.end();
  }
}
