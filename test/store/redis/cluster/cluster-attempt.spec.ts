import { describe, expect, it } from '@jest/globals';
import type { AcquireOutcome, Unavailable } from '../../../../lib/store/lock-store.js';
import { ClusterAttempt } from '../../../../lib/store/redis/cluster/cluster-attempt.js';
import { partsOf } from '../../../../lib/store/redis/cluster/keys-by-slot.js';
import type { Routing } from '../../../../lib/store/redis/cluster/routing.js';
import { Validity } from '../../../../lib/store/validity.js';
import { ManualClock } from '../../../support/manual-clock.js';
import { requestFor } from '../../requests.js';

const LEASE = 1_000;

/** The outcome of an attempt whose parts are granted: `passed` ms later, with these tokens. */
async function outcomeOf(tokens: readonly number[], passed = 0): Promise<AcquireOutcome> {
  const clock = new ManualClock();
  const left = [...tokens];
  const routing: Pick<Routing, 'acquire' | 'release'> = {
    async acquire() {
      const validity = Validity.ofLease(LEASE, clock);
      clock.freeze(passed);
      return { kind: 'granted', token: left.shift()!, confirmedBy: 1, validity };
    },
    release: () => Promise.resolve({ kind: 'released', ours: true }),
  };
  const keys = ['a', 'b'];
  const request = requestFor(keys, { leaseTime: LEASE, replicaTimeout: 400, waitUntil: clock.monotonic() });
  return new ClusterAttempt(request, partsOf(keys, ''), routing as Routing, clock).outcome;
}

describe('A lock on keys in several slots', () => {
  it('is granted with the token of the last part', async () => {
    expect(await outcomeOf([5, 7, 7])).toMatchObject({ kind: 'granted', token: 7 });
  });

  it.each<[string, readonly number[], number, RegExp]>([
    [
      'the time is up before the last part',
      [5, 7, 7],
      450,
      /not all of them were confirmed in time: raise replicaTimeout/,
    ],
    [
      'a part expired and was taken anew',
      [5, 7, 9],
      0,
      /lease of one of them ended before all were confirmed: raise leaseTime/,
    ],
  ])('says that %s', async (_, tokens, passed, reason) => {
    const outcome = (await outcomeOf(tokens, passed)) as Unavailable;
    expect(outcome.kind).toBe('unavailable');
    expect(outcome.reason).toMatch(reason);
  });
});
