import { executionAsyncResource } from 'node:async_hooks';
import { describe, expect, it } from '@jest/globals';
import type { HeldLock } from '../../lib/lock/held-lock.js';
import { LockContext } from '../../lib/lock/lock-context.js';
import { LockService } from '../../lib/lock/lock-service.js';
import { MemoryStore } from '../../lib/store/memory/memory-store.js';
import { serviceDefaults } from './fake-service.js';

describe('The context of work that starts its own next run under its lock', () => {
  it('does not keep locks that have ended', () => {
    let looks = 0;
    const former = {
      keys: ['job'],
      hasEnded: true,
      get held() {
        looks++;
        return false;
      },
    } as unknown as HeldLock;
    const context = new LockContext();
    const runOn = (runs: number): void =>
      context.run(former, () => (runs === 0 ? void context.find('job') : runOn(runs - 1)));
    runOn(500);
    expect(looks).toBe(1);
  });

  it('keeps the locks that are held', () => {
    const held = (key: string): HeldLock =>
      ({ keys: [key], limit: 1, hasEnded: false, held: true }) as unknown as HeldLock;
    const context = new LockContext();
    const outer = held('outer');
    context.run(outer, () => context.run(held('inner'), () => expect(context.find('outer')).toBe(outer)));
  });
});

describe('A service that was closed', () => {
  it('leaves no context behind that each later promise of the process would carry', async () => {
    /** What Node keeps with the present promise: nothing without an active context. */
    const kept = async (): Promise<readonly symbol[]> => {
      await new Promise((resolve) => setImmediate(resolve));
      return Object.getOwnPropertySymbols(executionAsyncResource());
    };
    const before = await kept();
    const locks = new LockService(new MemoryStore(), serviceDefaults);
    await locks.withLock('job', () => {});
    await locks.close();
    expect(await kept()).toEqual(before);
  });
});
