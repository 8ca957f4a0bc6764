import { systemClock } from '../../lib/common/clock.js';
import type { AcquireOutcome, AcquireRequest, HeldKeys, LockStore } from '../../lib/store/lock-store.js';

let count = 0;
/** A name that no other call returns. */
export const unique = (name: string): string => `${name}-${++count}`;

export function requestFor(keys: string | string[], overrides: Partial<AcquireRequest> = {}): AcquireRequest {
  return {
    keys: [keys].flat(),
    owner: `rl:test:1:${unique('owner')}`,
    limit: 1,
    leaseTime: 10_000,
    replicas: 'all',
    replicaTimeout: 2_000,
    waitUntil: systemClock.monotonic() + 5_000,
    wantedUntil: 0,
    ...overrides,
  };
}

export function granted(outcome: AcquireOutcome): Extract<AcquireOutcome, { kind: 'granted' }> {
  if (outcome.kind !== 'granted') throw new Error(`Not granted but ${JSON.stringify(outcome)}`);
  return outcome;
}

/** Takes the keys for a new holder. */
export async function take(
  store: LockStore,
  keys: string | string[],
  overrides: Partial<AcquireRequest> = {},
): Promise<HeldKeys> {
  const request = requestFor(keys, overrides);
  const { token, validity } = granted(await store.acquire(request).outcome);
  const { owner, limit, leaseTime } = request;
  return { keys: request.keys, owner, limit, token, leaseTime, validity };
}
