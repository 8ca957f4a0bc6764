import { beforeEach, describe, expect, it } from '@jest/globals';
import { LongLeases } from '../../../../lib/store/redis/replication/long-leases.js';
import type { Holder } from '../../../../lib/store/lock-store.js';

const held = (owner: string, remainingTime: number): Holder => ({
  owner,
  token: 1,
  remainingTime,
  inCooldown: false,
  limit: 1,
});

describe('A lease that is longer than the quarantine', () => {
  const leasesOf = (): LongLeases => new LongLeases(2_000, () => {});

  it('asks for links that have stood since the lease was read, until it ends', () => {
    const leases = leasesOf();
    leases.met('k', held('a', 5_000), 100);
    expect(leases.metAt(['other', 'k'], 200)).toBe(100);
    expect(leases.metAt(['other'], 200)).toBe(Infinity);
    expect(leases.metAt(['k'], 5_099)).toBe(100);
    expect(leases.metAt(['k'], 5_100)).toBe(Infinity);
  });

  it('is no kept result, however long it is kept', () => {
    const leases = leasesOf();
    leases.met('k', { ...held('a', 3_600_000), keepsResult: true }, 100);
    expect(leases.metAt(['k'], 200)).toBe(Infinity);
  });

  it('is not forgotten when a holder with a shorter lease has the key after a loss of data', () => {
    const leases = leasesOf();
    leases.met('k', held('a', 60_000), 100);
    leases.met('k', held('b', 5_000), 1_000);
    expect(leases.metAt(['k'], 10_000)).toBe(100);
    expect(leases.metAt(['k'], 60_100)).toBe(Infinity);
  });

  it('is over when the key was granted by links that have stood since the lease was read', () => {
    const leases = leasesOf();
    leases.met('k', held('a', 60_000), 100);
    leases.met('other', held('a', 60_000), 100);
    leases.granted(['k'], 1);
    expect(leases.metAt(['k'], 200)).toBe(Infinity);
    expect(leases.metAt(['other'], 200)).toBe(100);
  });

  it('is not over when the key was granted beside its holder', () => {
    const leases = leasesOf();
    leases.met('k', { ...held('a', 60_000), limit: Infinity }, 100);
    leases.granted(['k'], Infinity);
    expect(leases.metAt(['k'], 200)).toBe(100);
  });

  it('is seen among shorter leases of the same key', () => {
    const leases = leasesOf();
    leases.met('k', { ...held('a', 1_000), limit: 4 }, 100, 60_000);
    expect(leases.metAt(['k'], 50_000)).toBe(100);
  });

  it('has an end and a holder: a cooldown or a key without an expiry does not count', () => {
    const leases = leasesOf();
    leases.met('k', { ...held('a', 5_000), inCooldown: true, limit: 1 }, 100);
    leases.met('k', held('a', Infinity), 100);
    leases.met('k', held('a', 2_000), 100);
    expect(leases.metAt(['k'], 200)).toBe(Infinity);
  });
});

describe('A lease that is longer than the quarantine covers', () => {
  const holder = { owner: 'rl:h:1:a:1', token: 1, remainingTime: 86_400_000, inCooldown: false, limit: 1 };
  const met: string[] = [];
  let leases: LongLeases;

  beforeEach(() => {
    met.length = 0;
    leases = new LongLeases(16_000, (key, owner, left) => met.push(`${key} ${owner} ${left}`));
  });

  it('is reported once, with key and holder', () => {
    leases.met('job', holder, 100);
    leases.met('job', holder, 200);
    expect(met).toEqual(['job rl:h:1:a:1 86400000']);
  });

  it('is reported without a name if the holder that was read is another one', () => {
    leases.met('job', { ...holder, remainingTime: 5_000, limit: 4 }, 100, 86_400_000);
    expect(met).toEqual(['job one of its holders 86400000']);
  });

  it('is remembered for its key until it ends', () => {
    leases.met('job', holder, 100);
    leases.met('job', holder, 200);
    expect(leases.metAt(['other'], 300)).toBe(Infinity);
    expect(leases.metAt(['other', 'job'], 300)).toBe(100);
    expect(leases.metAt(['job'], 200 + 86_400_000)).toBe(Infinity);
  });

  it.each([
    ['that is covered', { remainingTime: 16_000 }],
    ['without an end', { remainingTime: Infinity }],
    ['of a key in its cooldown', { inCooldown: true, limit: 1 }],
  ])('is not reported %s', (_, differing) => {
    leases.met('job', { ...holder, ...differing }, 100);
    expect(met).toEqual([]);
    expect(leases.metAt(['job'], 100)).toBe(Infinity);
  });

  it('does not stay in memory once it has ended', () => {
    for (let i = 0; i < 10_000; i++) leases.met(`k${i}`, { ...holder, remainingTime: 16_001 }, i * 100);
    expect((leases as unknown as { byKey: Map<string, unknown> }).byKey.size).toBeLessThan(2_000);
  });
});
