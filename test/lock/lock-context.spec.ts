import { describe, expect, it } from '@jest/globals';
import type { HeldLock } from '../../lib/lock/held-lock.js';
import { LockContext } from '../../lib/lock/lock-context.js';

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
