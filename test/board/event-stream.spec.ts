import { EventEmitter } from 'node:events';
import { jest } from '@jest/globals';
import { BoardFeed } from '../../lib/board/board-feed.js';
import { boardSettings } from '../../lib/board/board-options.js';
import { EventStream, type StreamResponse } from '../../lib/board/event-stream.js';
import { TestLocks } from '../../lib/testing/index.js';
import { until } from '../support/eventually.js';

/** The response for a reader that takes everything, or nothing. */
class FakeResponse extends EventEmitter {
  readonly written: string[] = [];
  takes = true;
  isDestroyed = false;
  writableEnded = false;
  readonly req = { method: 'GET' };
  writeHead(): void {}

  write(text: string): boolean {
    this.written.push(text);
    return this.takes;
  }

  end(): void {
    this.writableEnded = true;
    this.emit('close');
  }

  destroy(): void {
    this.isDestroyed = true;
    this.emit('close');
  }

  get asResponse(): StreamResponse {
    return this as unknown as StreamResponse;
  }
}

describe('A reader of events that takes nothing', () => {
  it('is sent nothing more, while others go on; what it missed is counted once it reads again', async () => {
    const locks = new TestLocks();
    const feed = new BoardFeed(locks.service, boardSettings({}));
    const [slow, quick] = [new FakeResponse(), new FakeResponse()];
    slow.takes = false;
    feed.open(slow.asResponse);
    feed.open(quick.asResponse);
    const before = slow.written.length;
    for (let i = 0; i < 300; i++) await locks.service.withLock(`order:${i}`, () => undefined);
    await until(() => quick.written.join('').includes('order:299'), {
      what: 'the other reader has the last event',
    });
    expect(slow.written.length).toBe(before);
    slow.takes = true;
    slow.emit('drain');
    await until(() => slow.written.join('').includes('order:299'), {
      what: 'the slow reader has the last event',
    });
    expect(slow.written.join('')).toMatch(/"what":"550 more"/);
    feed.beforeApplicationShutdown();
    expect([slow.writableEnded, quick.writableEnded]).toEqual([true, true]);
    expect(() => feed.open(new FakeResponse().asResponse)).toThrow('shutting down');
    await locks.service.close();
  });

  it('is disconnected after half a minute', () => {
    const response = new FakeResponse();
    let hasLeft = false;
    const stream = new EventStream(response.asResponse, () => (hasLeft = true));
    response.takes = false;
    const now = jest.spyOn(performance, 'now').mockReturnValue(1_000);
    stream.send('state', {});
    now.mockReturnValue(30_000);
    expect([stream.isBehind(), response.isDestroyed]).toEqual([true, false]);
    now.mockReturnValue(31_500);
    expect([stream.isBehind(), response.isDestroyed, hasLeft]).toEqual([true, true, true]);
    now.mockRestore();
  });
});
