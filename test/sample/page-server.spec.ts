import { request } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { PageServer, refusalOf } from '../../sample/demo/page-server.js';
import { until } from '../support/eventually.js';
import { AT_REST, StandInDemo } from '../support/stand-in-demo.js';

const JSON_TYPE = { 'content-type': 'application/json' };

describe('A request to the page of the demonstration', () => {
  const own = { host: '127.0.0.1:8080' };
  const fromOwnPage = {
    ...own,
    ...JSON_TYPE,
    origin: 'http://127.0.0.1:8080',
    'sec-fetch-site': 'same-origin' as const,
  };

  it.each([
    ['GET', own],
    ['GET', { host: 'localhost:8080' }],
    ['GET', { ...own, 'sec-fetch-site': 'none' as const }],
    ['POST', fromOwnPage],
    ['POST', { ...fromOwnPage, 'content-type': 'application/json; charset=utf-8' }],
    ['POST', { ...fromOwnPage, host: 'localhost:8080', origin: 'http://localhost:8080' }],
    ['POST', { ...own, ...JSON_TYPE }], // curl
  ])('is served if the page or a program of this machine sends it: %s %j', (method, headers) => {
    expect(refusalOf(method, headers, 8080)).toBeUndefined();
  });

  it.each([
    ['GET', {}, 'no host'],
    ['GET', { host: 'shop.example:8080' }, 'a name of another site that leads here'],
    ['GET', { host: '127.0.0.1:8081' }, 'another port'],
    ['POST', { ...fromOwnPage, host: 'shop.example:8080' }, 'a name of another site that leads here'],
    ['POST', { ...fromOwnPage, origin: 'http://127.0.0.1:3000' }, 'another site of this machine'],
    ['POST', { ...fromOwnPage, origin: 'http://localhost:8080' }, 'another name of this machine'],
    ['POST', { ...fromOwnPage, origin: 'https://127.0.0.1:8080' }, 'another scheme'],
    ['POST', { ...fromOwnPage, origin: 'null' }, 'a sandboxed frame or a file'],
    [
      'POST',
      { ...own, ...JSON_TYPE, 'sec-fetch-site': 'same-site' as const },
      'another port, without origin',
    ],
    [
      'POST',
      { ...own, ...JSON_TYPE, 'sec-fetch-site': 'cross-site' as const },
      'another site, without origin',
    ],
    ['POST', { ...own }, 'a form without content'],
    ['POST', { ...own, 'content-type': 'text/plain' }, 'a form'],
    ['POST', { ...own, 'content-type': 'application/x-www-form-urlencoded' }, 'a form'],
    ['POST', { ...own, 'content-type': 'text/plain; application/json' }, 'a form that looks like JSON'],
    ['DELETE', { ...fromOwnPage, origin: 'http://shop.example' }, 'another method'],
  ])('is refused if another site may have sent it: %s %j, %s', (method, headers: object, _) => {
    expect(refusalOf(method, { ...headers }, 8080)).toEqual(expect.any(String));
  });
});

describe('The server of the page of the demonstration', () => {
  let demo: StandInDemo;
  let server: PageServer;

  beforeEach(async () => {
    demo = new StandInDemo();
    server = await PageServer.start(demo);
  });
  afterEach(() => server.close());

  function act(name: string, body: unknown, headers: Record<string, string> = JSON_TYPE): Promise<Response> {
    return fetch(`${server.url}/actions/${name}`, { method: 'POST', headers, body: JSON.stringify(body) });
  }

  it('hands actions on with their argument', async () => {
    const answers = await Promise.all([
      act('pay', { count: 20 }),
      act('killMaster', { lagging: true }),
      act('cutOff', { name: 'redis-3' }),
      act('continueReplica', {}),
      act('useLock', { lock: 'replica' }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([204, 204, 204, 204, 204]);
    expect(new Map(demo.calls)).toEqual(
      new Map<string, unknown>([
        ['pay', { count: 20 }],
        ['killMaster', { lagging: true }],
        ['cutOff', { name: 'redis-3' }],
        ['continueReplica', undefined],
        ['useLock', { lock: 'replica' }],
      ]),
    );
  });

  it('runs no action for another site, by whichever header that site is known', async () => {
    const { status } = await act('killMaster', {}, { ...JSON_TYPE, origin: 'http://127.0.0.1:3000' });
    const form = await act('killMaster', {}, { 'content-type': 'text/plain' });
    expect([status, form.status]).toEqual([403, 403]);
    expect(await statusOf('/state', { host: 'shop.example' })).toBe(403);
    expect((await fetch(`${server.url}/actions/killMaster`)).status).toBe(404);
    expect(demo.calls).toEqual([]);
  });

  /** Sends the path and the headers as they are: `fetch` would mend them. */
  function statusOf(path: string, headers: Record<string, string> = {}): Promise<number | undefined> {
    const { port } = new URL(server.url);
    return new Promise((resolve, reject) => {
      request({ host: '127.0.0.1', port, path, headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
  }

  it.each([
    ['pay', 'no count', {}],
    ['pay', 'too many', { count: 1e9 }],
    ['pay', 'a part of a payment', { count: 1.5 }],
    ['pay', 'a text', { count: '20' }],
    ['pay', 'no object', 'no object'],
    ['pay', 'a long body', { count: 20, more: 'x'.repeat(2_000) }],
    ['useLock', 'an unknown lock', { lock: 'constructor' }],
    ['useLock', 'null', null],
  ])('refuses an argument that the action cannot use: %s, %s', async (name, _, argument) => {
    expect((await act(name, argument)).status).toBe(400);
    expect(demo.calls).toEqual([]);
  });

  it('says why an action is not possible now', async () => {
    demo.refusal = 'there is no master';
    const answer = await act('killMaster', {});
    expect([answer.status, await answer.json()]).toEqual([409, { message: 'there is no master' }]);
  });

  it.each(['actions/constructor', 'actions/', 'actions/killMaster/now'])(
    'knows no action %s',
    async (path) => {
      const answer = await fetch(`${server.url}/${path}`, { method: 'POST', headers: JSON_TYPE, body: '{}' });
      expect(answer.status).toBe(404);
    },
  );

  it.each([
    'package.json',
    'tsconfig.json',
    'page.ts',
    'model.js',
    'page/',
    '%00.js',
    '..%2fmodel.ts',
    '../../../docs/bench/distinct-keys.svg',
    '/etc/hosts.js',
  ])('serves no file beside those of the page: %s', async (path) => {
    expect(await statusOf(`/${path}`)).toBe(404);
  });

  it('serves the page under a content security policy without inline scripts', async () => {
    for (const path of ['', 'page.js', 'page.css', 'board.js', 'icon.svg']) {
      const answer = await fetch(`${server.url}/${path}`);
      expect([path, answer.status]).toEqual([path, 200]);
      const policy = answer.headers.get('content-security-policy');
      expect(policy).toContain("default-src 'none'");
      expect(policy).not.toContain('unsafe');
      expect(answer.headers.get('access-control-allow-origin')).toBeNull();
    }
  });

  it('tells a page everything that has happened, then the news and each changed state', async () => {
    demo.happen('before the page came');
    const stopped = new AbortController();
    const stream = await fetch(`${server.url}/events`, { signal: stopped.signal });
    let text = '';
    const read = (async () => {
      for await (const chunk of stream.body!) text += Buffer.from(chunk).toString();
    })().catch(() => {});
    await until(() => text.includes('before the page came'), { what: 'the past is told' });
    expect(text.startsWith(`event: state\ndata: ${JSON.stringify(AT_REST)}\n\n`)).toBe(true);
    demo.happen('line\n\nevent: state\ndata: {}');
    demo.show({ lock: 'replica' });
    await until(() => text.includes('"lock":"replica"'), { what: 'the changed state is told' });
    expect(text.match(/^event: .*$/gm)).toEqual([
      'event: state',
      'event: happened',
      'event: happened',
      'event: state',
    ]);
    stopped.abort();
    await read;
  });

  it('listens on this machine only, and frees its port', async () => {
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const port = Number(new URL(server.url).port);
    await expect(PageServer.start(demo, port)).rejects.toThrow(/set DEMO_PORT .*EADDRINUSE/);
    await expect(PageServer.start(demo, NaN)).rejects.toThrow('set DEMO_PORT');
    await server.close();
    server = await PageServer.start(demo, port);
    expect((await fetch(`${server.url}/state`)).status).toBe(200);
  });
});
