import { describe, expect, it } from '@jest/globals';
import { NO_INDEX } from '../../lib/common/intrusive-set.js';
import type { HeldLock } from '../../lib/lock/held-lock.js';
import { HeldLocks } from '../../lib/lock/held-locks.js';
import { ManualClock } from '../support/manual-clock.js';

describe('The locks that a service holds', () => {
  it('do not keep a lock that had ended when it was granted', () => {
    const locks = new HeldLocks(new ManualClock());
    let checks = 0;
    const late = {
      index: NO_INDEX,
      keys: ['k'],
      wasGrantedLate: true,
      startUpkeep: () => locks.delete(late as unknown as HeldLock),
      check: () => checks++,
    };
    locks.add(late as unknown as HeldLock);
    locks.check({ key: 'k' });
    expect(checks).toBe(0);
    locks.close();
  });
});
