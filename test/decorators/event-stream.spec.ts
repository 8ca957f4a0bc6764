import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Sse, UseGuards, type CanActivate, type INestApplication } from '@nestjs/common';
import { NEVER, of, type Observable } from 'rxjs';
import { LockService, ReplicaLocked } from '../../lib/index.js';
import { until } from '../support/eventually.js';
import { adapters, startApp } from './apps.js';

class Closed implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

@Controller()
class Events {
  @Sse('busy/:id')
  @ReplicaLocked('busy:{params.id}', { waitTime: 100 })
  busy(): Observable<object> {
    return of({ data: 'tick' });
  }

  @Sse('waiting')
  @ReplicaLocked('waiting')
  waiting(): Observable<object> {
    return NEVER;
  }

  @Sse('skipped')
  @ReplicaLocked('skipped', { waitTime: 100, onContended: () => of({ data: 'skipped' }) })
  skipped(): Observable<object> {
    return NEVER;
  }

  @Sse('keyless')
  @ReplicaLocked('keyless:{query.id}')
  keyless(): Observable<object> {
    return NEVER;
  }

  @UseGuards(Closed)
  @Sse('closed')
  @ReplicaLocked('closed')
  closed(): Observable<object> {
    return NEVER;
  }
}

describe.each(adapters)('A locked event stream on %s', (adapter) => {
  let app: INestApplication;
  afterEach(() => app.close());

  async function start(): Promise<{ url: string; locks: LockService }> {
    const started = await startApp({ controllers: [Events] }, { adapter });
    ({ app } = started);
    return { url: started.url, locks: app.get(LockService) };
  }

  it('is refused with 409 and Retry-After while its lock is busy, and streams afterwards', async () => {
    const { url, locks } = await start();
    const held = await locks.acquire('busy:7');
    const refused = await fetch(`${url}/busy/7`);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([409, '2']);
    expect(await refused.json()).toMatchObject({ code: 'LOCK_CONTENDED' });
    await held.release();
    const streamed = await fetch(`${url}/busy/7`);
    expect(streamed.headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect(await streamed.text()).toContain('data: tick');
    await until(async () => !(await locks.isLocked('busy:7')), { what: 'the lock is free' });
  });

  it('is the result of onContended if the lock is busy', async () => {
    const { url, locks } = await start();
    const held = await locks.acquire('skipped');
    expect(await (await fetch(`${url}/skipped`)).text()).toContain('data: skipped');
    await held.release();
  });

  it('is refused with 400 for a request that lacks a part of the key', async () => {
    const { url } = await start();
    expect((await fetch(`${url}/keyless`)).status).toBe(400);
  });

  it('takes no lock if another guard refuses the request', async () => {
    const { url, locks } = await start();
    const events: string[] = [];
    locks.events.subscribe(({ type }) => events.push(type));
    expect((await fetch(`${url}/closed`)).status).toBe(403);
    expect(events).toEqual([]);
  });

  it('leaves no lock behind if the client leaves during the wait or during the stream', async () => {
    const { url, locks } = await start();
    const held = await locks.acquire('waiting');
    const waiting = new AbortController();
    const gone = fetch(`${url}/waiting`, { signal: waiting.signal }).catch(() => undefined);
    await until(() => locks.health().held === 1, { what: 'the request waits' });
    waiting.abort();
    await gone;
    await held.release();
    const streaming = new AbortController();
    await fetch(`${url}/waiting`, { signal: streaming.signal });
    expect(await locks.isLocked('waiting')).toBe(true);
    streaming.abort();
    await until(async () => !(await locks.isLocked('waiting')), { what: 'the lock is free' });
    expect(locks.held).toEqual([]);
  });
});
