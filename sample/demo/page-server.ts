import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  ACTIONS,
  NotNow,
  type Demo,
  type DemoActions,
  type DemoEvent,
  type DemoState,
  type LockKind,
} from './model.js';
import { messageOf } from './terminal.js';

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
};

const HEADERS = {
  // The page loads its own files only. No inline script, no inline style, no frame around it.
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

/** How often a page gets a changed state, in ms. */
const STATE_PERIOD = 200;
/** A page that reads so slowly that this many bytes wait for it is cut off, and asks again. */
const MOST_WAITING = 1 << 20;
const ROOT = rootFolder();
const MOST_BODY = 1_024;
const MOST_PAYMENTS = 200;
const LOCKS: readonly LockKind[] = ['none', 'usual', 'replica'];

/**
 * Why a request is refused, or undefined. The buttons of the page kill processes, so that no other
 * site that is open in the same browser may send what they send:
 * - a name of another site that leads here (DNS rebinding) is recognised by `host`;
 * - a form or script of another site by `origin`, and by `sec-fetch-site`;
 * - and no site can send JSON to another without the permission that this server never gives.
 */
export function refusalOf(
  method: string | undefined,
  headers: IncomingHttpHeaders,
  port: number,
): string | undefined {
  const host = headers.host ?? '';
  if (host !== `127.0.0.1:${port}` && host !== `localhost:${port}`)
    return `this server answers at 127.0.0.1:${port} only`;
  if (method === 'GET') return undefined;
  if (headers.origin !== undefined && headers.origin !== `http://${host}`)
    return 'a page of another origin may not do this';
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin') return 'a page of another site may not do this';
  if (headers['content-type']?.split(';')[0]?.trim() !== 'application/json')
    return 'an action needs the header content-type: application/json';
  return undefined;
}

/** The page of the demonstration, served to this machine only. */
export class PageServer {
  private readonly server: Server;
  private readonly pages = new Set<ServerResponse>();
  private readonly timer = setInterval(() => this.sendState(), STATE_PERIOD);
  private lastState = '';

  private constructor(private readonly demo: Demo) {
    this.server = createServer((request, response) => {
      this.answer(request, response).catch((error: unknown) => {
        // The page is gone, or an action failed in a way that the engine did not foresee.
        if (response.headersSent) response.destroy();
        else end(response, 500, { message: messageOf(error) });
      });
    });
  }

  /** Port 0 is any free port. Rejects if the port is taken, or is none. */
  static async start(demo: Demo, port = 0): Promise<PageServer> {
    const page = new PageServer(demo);
    try {
      page.server.listen(port, '127.0.0.1');
      await once(page.server, 'listening');
    } catch (error) {
      clearInterval(page.timer);
      const what = `The page cannot listen on port ${port}, set DEMO_PORT to another one`;
      throw new Error(`${what}: ${messageOf(error)}`, { cause: error });
    }
    return page;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    const closed = once(this.server, 'close');
    this.server.close();
    this.server.closeAllConnections();
    await closed;
  }

  private get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, url = '/' } = request;
    const refusal = refusalOf(method, request.headers, this.port);
    if (refusal !== undefined) return end(response, 403, { message: refusal });
    const path = url.split('?')[0]!.slice(1) || 'index.html';
    if (method === 'POST' && path.startsWith('actions/')) return this.act(path.slice(8), request, response);
    if (method === 'GET' && path === 'state') return end(response, 200, this.demo.state());
    if (method === 'GET' && path === 'events') return this.follow(response);
    const type = method === 'GET' ? TYPES[/^[a-z-]+\.([a-z]+)$/.exec(path)?.[1] ?? ''] : undefined;
    const content = type === undefined ? undefined : await fileOf(path);
    if (content !== undefined) {
      response.writeHead(200, { ...HEADERS, 'content-type': type }).end(content);
      return;
    }
    end(response, 404, { message: `there is nothing at ${url}` });
  }

  private async act(name: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const action = ACTIONS.find((known) => known === name);
    if (action === undefined) return end(response, 404, { message: `there is no action '${name}'` });
    const argument = argumentOf(action, await bodyOf(request));
    if (argument === undefined) return end(response, 400, { message: `'${name}' cannot use this body` });
    try {
      await this.demo.actions[action](argument as never);
      response.writeHead(204, HEADERS).end();
    } catch (error) {
      if (!(error instanceof NotNow)) throw error;
      end(response, 409, { message: error.message });
    }
  }

  /** Sends the state now and after each change, and what happens, until the page is closed. */
  private follow(response: ServerResponse): void {
    response.writeHead(200, { ...HEADERS, 'content-type': 'text/event-stream' });
    send(response, 'state', this.demo.state());
    const happened = this.demo.events.subscribe((event) => send(response, 'happened', event));
    this.pages.add(response);
    response.once('close', () => {
      happened.unsubscribe();
      this.pages.delete(response);
    });
  }

  private sendState(): void {
    if (this.pages.size === 0) return;
    const state = this.demo.state();
    const text = JSON.stringify({ ...state, at: 0 });
    if (text === this.lastState) return;
    this.lastState = text;
    for (const page of this.pages) send(page, 'state', state);
  }
}

/** The page's file of this name, or a file that the page borrows from the board. */
async function fileOf(name: string): Promise<string | undefined> {
  for (const folder of ['sample/demo/page', 'lib/board/page']) {
    const content = await readFile(new URL(`${folder}/${name}`, ROOT), 'utf8').catch(() => undefined);
    if (content !== undefined) return content;
  }
  return undefined;
}

/** The folder with the sources, for the compiled demonstration and for its tests. */
function rootFolder(): URL {
  let folder = new URL('.', import.meta.url);
  while (!existsSync(new URL('package.json', folder))) folder = new URL('..', folder);
  return folder;
}

function end(response: ServerResponse, status: number, content: object): void {
  response.writeHead(status, { ...HEADERS, 'content-type': 'application/json' }).end(JSON.stringify(content));
}

/** JSON has no line break outside of strings, and none that is not escaped within them. */
function send(page: ServerResponse, name: string, content: DemoEvent | DemoState): void {
  if (page.writableLength > MOST_WAITING) page.destroy();
  else page.write(`event: ${name}\ndata: ${JSON.stringify(content)}\n\n`);
}

/** The body as JSON: `{}` if it is empty, undefined if it is no JSON or too long. */
async function bodyOf(request: IncomingMessage): Promise<unknown> {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += String(chunk);
    if (body.length > MOST_BODY) return undefined;
  }
  try {
    return body === '' ? {} : (JSON.parse(body) as unknown);
  } catch {
    return undefined;
  }
}

/** The argument of an action, or undefined if the body is none. */
function argumentOf(action: keyof DemoActions, body: unknown): object | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { lagging, name, count, lock } = body as Record<string, unknown>;
  switch (action) {
    case 'killMaster':
      return { lagging: lagging === true };
    case 'stopReplica':
    case 'cutOff':
      return typeof name === 'string' ? { name } : {};
    case 'pay':
      return Number.isInteger(count) && Number(count) > 0 && Number(count) <= MOST_PAYMENTS
        ? { count }
        : undefined;
    case 'useLock':
      return LOCKS.includes(lock as LockKind) ? { lock } : undefined;
    default:
      return {};
  }
}
