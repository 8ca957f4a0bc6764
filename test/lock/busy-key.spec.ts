import { describe, expect, it } from '@jest/globals';
import { BusyKey } from '../../lib/lock/busy-key.js';
import type { Holder } from '../../lib/store/lock-store.js';

/** ms. The holder renews every third of the lease: every 3,000 ms. */
const LEASE = 9_000;

function holderOf(owner: string, remainingTime = LEASE): Holder {
  return { owner, token: 1, remainingTime, inCooldown: false, limit: 1 };
}

describe('The next step of a waiter for a busy key', () => {
  it.each([
    // [rest of the lease, time since the answer, notices, random] -> [step, ms]
    ['at the end of the lease', 900, 0, true, 0.5, 'ask', 901],
    ['after the part of the lease that is left', 900, 400, true, 0.5, 'ask', 501],
    ['never sooner than in 10 ms', 3, 0, true, 0.5, 'ask', 10],
    ['never sooner than in 10 ms after the lease', 900, 5_000, true, 0.5, 'ask', 10],
    ['with a check if the lease is long', 60_000, 0, true, 0.5, 'check', 8_000],
    ['with a check, earlier at the least', 60_000, 0, true, 0, 'check', 6_000],
    ['with a check, later at the most', 60_000, 0, true, 1, 'check', 10_000],
    ['with a check if the key never expires', Infinity, 0, true, 0.5, 'check', 8_000],
    ['by polling if no notices come', 60_000, 0, false, 0.5, 'ask', 250],
    ['by polling, but at the end of the lease', 100, 0, false, 0.5, 'ask', 101],
  ] as const)('comes %s', (_, left, passed, hearsChanges, random, kind, after) => {
    const key = new BusyKey(LEASE);
    key.found(holderOf('a', left), false, 1_000);
    expect(key.nextStep(1_000 + passed, hearsChanges, random)).toEqual({ kind, after });
  });

  it('follows the lease that a renewal has extended', () => {
    const key = new BusyKey(LEASE);
    key.found(holderOf('a', 900), false, 0);
    key.renewed(600);
    expect(key.nextStep(600, true, 0.5)).toEqual({ kind: 'ask', after: 901 });
  });

  it('does not come early after a renewal because the key was read late in the lease before', () => {
    const key = new BusyKey(LEASE);
    key.found(holderOf('a', 900), false, 0);
    key.found(holderOf('a', 200), false, 700);
    key.renewed(750);
    expect(key.nextStep(750, true, 0.5)).toEqual({ kind: 'ask', after: 901 });
  });

  it('follows the lease of another holder, which may be shorter', () => {
    const key = new BusyKey(LEASE);
    key.found(holderOf('a', 900), false, 0);
    key.found(holderOf('b', 500), true, 700);
    key.renewed(750);
    expect(key.nextStep(750, true, 0.5)).toEqual({ kind: 'ask', after: 501 });
  });
});

describe('A change of a busy key', () => {
  /** The holder's renewal was seen at 1,000: the key was changed, and the holder stayed. */
  const renewedAt1000 = (): BusyKey => {
    const key = new BusyKey(LEASE);
    key.found(holderOf('a'), false, 0);
    key.found(holderOf('a'), true, 1_000);
    return key;
  };

  it.each([
    [1_000, false],
    [3_879, false],
    [3_881, true],
    [4_000, true],
    [4_119, true],
    [4_121, false],
  ])('at %d counts as the next renewal: %p', (now, isDue) => {
    expect(renewedAt1000().isProbablyRenewal(now)).toBe(isDue);
  });

  it('counts as a renewal within 50 ms of a short period', () => {
    const key = new BusyKey(300);
    key.renewed(0);
    expect([49, 51, 149, 151].map((now) => key.isProbablyRenewal(now))).toEqual([false, true, true, false]);
  });

  it.each<[string, (key: BusyKey) => void]>([
    ['no renewal was seen', (key) => key.found(holderOf('b'), false, 500)],
    ['the holder is another one now', (key) => key.found(holderOf('b'), true, 1_500)],
    ['an answer of another kind came in between', (key) => key.forgetHolder()],
    [
      'the same holder was found after an answer of another kind',
      (key) => {
        key.forgetHolder();
        key.found(holderOf('a'), true, 1_000);
      },
    ],
  ])('is no renewal if %s', (_, happen) => {
    const key = renewedAt1000();
    happen(key);
    expect([1_000, 4_000, 4_500].some((now) => key.isProbablyRenewal(now))).toBe(false);
  });

  it('keeps the known renewal if the key was not changed before the answer', () => {
    const key = renewedAt1000();
    key.found(holderOf('a'), false, 2_000);
    expect(key.isProbablyRenewal(4_000)).toBe(true);
  });
});
