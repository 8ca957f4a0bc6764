import { describe, expect, it } from '@jest/globals';
import { systemClock } from '../../../lib/common/clock.js';
import { MemoryServer, memoryServerOf } from '../../../lib/store/memory/memory-server.js';
import { MemoryStore } from '../../../lib/store/memory/memory-store.js';
import { ManualClock } from '../../support/manual-clock.js';
import { describeLockStore } from '../contract.js';
import { requestFor } from '../requests.js';

describeLockStore('The memory store', () => {
  const server = new MemoryServer(systemClock);
  return Promise.resolve({
    open: () => new MemoryStore(systemClock, server),
    dispose: () => Promise.resolve(),
  });
});

describe('The memory server', () => {
  it('forgets keys whose lease ended without a release', () => {
    const clock = new ManualClock();
    const server = new MemoryServer(clock);
    for (let i = 0; i < 10_000; i++) {
      server.acquire(requestFor(`k${i}`, { leaseTime: 100 }));
      clock.freeze(1);
    }
    // 100 keys are held, and at most 1,000 have expired since the last purge.
    expect(server['permits'].size).toBeLessThanOrEqual(1_100);
  });
});

describe("A connection 'memory:'", () => {
  it('has locks of its own', async () => {
    const [one, other] = [0, 1].map(
      () => new MemoryStore(systemClock, memoryServerOf('memory:', systemClock)),
    );
    expect((await one!.acquire(requestFor('a')).outcome).kind).toBe('granted');
    expect((await other!.acquire(requestFor('a')).outcome).kind).toBe('granted');
  });

  it('shares locks with a connection of the same name', async () => {
    const [one, other] = [0, 1].map(
      () => new MemoryStore(systemClock, memoryServerOf('memory:shared', systemClock)),
    );
    expect((await one!.acquire(requestFor('a')).outcome).kind).toBe('granted');
    expect((await other!.acquire(requestFor('a')).outcome).kind).toBe('busy');
  });
});
