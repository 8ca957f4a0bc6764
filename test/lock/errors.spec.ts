import { inspect } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import {
  LockContendedError,
  LockKeyError,
  LockLostError,
  LockNotReplicatedError,
  LockServiceClosedError,
  LockUnavailableError,
  ReplicaLockError,
} from '../../lib/lock/errors.js';

/** An error that another copy of the package in the same process made. */
function foreignCopy(): Error {
  const brand = Symbol.for('nestjs-replica-lock.error');
  return Object.assign(new Error('held'), { code: 'LOCK_CONTENDED', [brand]: true });
}

describe('A lock error', () => {
  it('of another copy of the package is recognised by its brand and code', () => {
    const error: unknown = foreignCopy();
    expect(error instanceof ReplicaLockError).toBe(true);
    expect(error instanceof LockContendedError).toBe(true);
    expect(error instanceof LockKeyError).toBe(false);
  });

  it.each([
    ['another error with the same code', Object.assign(new Error(), { code: 'LOCK_CONTENDED' })],
    ['null', null],
    ['a text', 'LOCK_CONTENDED'],
  ])('is not recognised in %s', (_, value: unknown) => {
    expect(value instanceof ReplicaLockError).toBe(false);
    expect(value instanceof LockContendedError).toBe(false);
  });

  it('keeps its name and code in a bundle that renames classes', () => {
    const error = new LockServiceClosedError(['k']);
    Object.defineProperty(LockServiceClosedError, 'name', { value: 'a' });
    expect(error.name).toBe('LockServiceClosedError');
    expect(error.stack).toMatch(/^LockServiceClosedError: Lock 'k' was refused/);
    expect(error.code).toBe('LOCK_SERVICE_CLOSED');
    expect(Object.keys(error)).toEqual(expect.arrayContaining(['keys', 'code']));
  });

  it('names a few of many keys, and the number of the others', () => {
    const keys = Array.from({ length: 256 }, (_, i) => `k${i}`);
    expect(new LockServiceClosedError(keys).message).toMatch(
      /^The lock on 'k0', 'k1', 'k2', 'k3', 'k4' and 251 more was refused/,
    );
    expect(new LockServiceClosedError(keys.slice(0, 5)).message).toMatch(
      /^The lock on 'k0', 'k1', 'k2', 'k3', 'k4' was refused/,
    );
    expect(new LockServiceClosedError(keys).keys).toHaveLength(256);
  });

  it('of a refused lock is one line for the console, and its stack is complete', () => {
    const cause = new Error('connect ECONNREFUSED');
    const refusal = new LockUnavailableError(['a\nb'], { reason: 'no server.', cause });
    expect(inspect(refusal)).toBe("LockUnavailableError: Lock 'a b' could not be taken: no server.");
    expect(inspect(new Error('failed', { cause: refusal }))).toContain(`[cause]: ${inspect(refusal)}`);
    expect(refusal.stack).toContain('errors.spec');
    expect(refusal).toMatchObject({ cause, keys: ['a\nb'] });
    for (const each of [new LockContendedError(['k'], 'rl:1', 5, 0), new LockServiceClosedError(['k'])])
      expect(inspect(each)).toBe(`${each.name}: ${each.message}`);
  });

  it('of a fault keeps its stack on the console', () => {
    for (const each of [new LockKeyError(['k'], 'no key'), new LockLostError(['k'], new Date(), 'why')])
      expect(inspect(each)).toContain('errors.spec');
  });

  it.each([
    [0, 2, false],
    [1, 2, true],
  ])("advises replicas: 'majority' only if a majority confirmed: %s of %s", (confirmed, required, helps) => {
    const replicas = [1, 2].map((port) => ({
      address: `a:${port}`,
      acknowledged: port <= confirmed,
      lag: port <= confirmed ? 0 : null,
    }));
    const { message } = new LockNotReplicatedError(
      ['k'],
      { kind: 'unconfirmed', confirmed, required, replicas },
      1_000,
    );
    expect(message.includes("'majority'")).toBe(helps);
    expect(message).toContain('Restore the missing replicas');
  });

  it('has rounded times', () => {
    expect(new LockContendedError(['k'], 'rl:1', 14_501.7, 10_000).message).toMatch(
      /did not become free within 10 s\. Its lease ends in 15 s unless/,
    );
    expect(new LockUnavailableError(['k'], { reason: 'r', retryAfter: 1234.1 }).retryAfter).toBe(1235);
  });

  it('can be extended by an application: instanceof knows that class as usual', () => {
    class OrderBusy extends LockContendedError {}
    const contended = new LockContendedError(['k'], 'rl:1', 5, 0);
    const own = new OrderBusy(['k'], 'rl:1', 5, 0);
    expect(contended instanceof OrderBusy).toBe(false);
    expect(own instanceof OrderBusy).toBe(true);
    expect(own instanceof LockContendedError).toBe(true);
  });
});
