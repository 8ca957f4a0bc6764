import { request, type IncomingMessage } from 'node:http';
import { until } from '../support/eventually.js';

/** Reads server-sent events, as the page does. */
export class EventReader {
  readonly messages: { readonly event: string; readonly data: never }[] = [];
  hasEnded = false;
  private buffer = '';

  private constructor(readonly response: IncomingMessage) {
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => this.take(chunk));
    response.on('close', () => (this.hasEnded = true));
    response.on('error', () => {});
  }

  static open(url: string, headers: Record<string, string> = {}): Promise<EventReader> {
    return connect(url, headers).then((response) => new EventReader(response));
  }

  /** The data of the first message of this name that fits. */
  message<T>(event: string, fits: (data: T) => boolean = () => true): Promise<T> {
    const find = (): T | undefined =>
      this.messages.find((each) => each.event === event && fits(each.data))?.data;
    return until(find, { what: `a message '${event}' comes` }) as Promise<T>;
  }

  close(): void {
    this.response.destroy();
  }

  private take(chunk: string): void {
    const parts = (this.buffer + chunk).split('\n\n');
    this.buffer = parts.pop() ?? '';
    for (const part of parts) {
      const [, event = '', data = ''] = /^event: (\w+)\ndata: (.*)$/.exec(part) ?? [];
      this.messages.push({ event, data: JSON.parse(data) as never });
    }
  }
}

/** The response, of which nothing is read until the caller does so. */
export function connect(url: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request(url, { agent: false, headers }, resolve).on('error', reject).end();
  });
}
