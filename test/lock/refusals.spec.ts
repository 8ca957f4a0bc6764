import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { LeaderOnly } from '../../lib/decorators/leader.decorators.js';
import { ReplicaLocked } from '../../lib/decorators/replica-locked.decorator.js';
import { LockKeyError } from '../../lib/lock/errors.js';
import { LockService } from '../../lib/lock/lock-service.js';
import type { WithLockOptions } from '../../lib/lock/options.js';
import { MemoryStore } from '../../lib/store/memory/memory-store.js';
import { serviceDefaults } from './fake-service.js';

describe('LockService', () => {
  let locks: LockService;
  beforeEach(() => {
    locks = new LockService(new MemoryStore(), serviceDefaults);
  });
  afterEach(async () => {
    await locks.close();
  });

  describe('refuses without a request', () => {
    it.each([
      [undefined, /must be a string or an array/],
      [null, /must be a string or an array/],
      [{}, /an object/],
      ['', /is empty/],
      [[], /array of keys is empty/],
      [['a', ''], /is empty/],
      [['a', undefined], /must be a string, not undefined/],
      ['x'.repeat(1_025), /1024 are the most/],
      ['half \ud83d', /is no well-formed Unicode/],
      [['whole', '\udd12 half'], /is no well-formed Unicode/],
    ])('the key %p', async (key, message) => {
      const call = locks.acquire(key as string);
      await expect(call).rejects.toBeInstanceOf(LockKeyError);
      await expect(call).rejects.toThrow(message);
      await expect(locks.tryAcquire(key as string)).rejects.toThrow(message);
      await expect(locks.withLock(key as string, () => {})).rejects.toThrow(message);
    });

    it.each([
      ['', /is empty/],
      [['a'], /must be a string, not an array/],
      ['half \ud83d', /is no well-formed Unicode/],
    ])('the key %p of a question', async (key, message) => {
      await expect(locks.inspect(key as string)).rejects.toThrow(message);
      await expect(locks.isLocked(key as string)).rejects.toThrow(message);
      await expect(locks.forceRelease(key as string)).rejects.toThrow(message);
      expect(() => locks.current(key as string)).toThrow(message);
      expect(() => locks.assertHeld(key as string)).toThrow(message);
    });

    it('more than 256 keys of one lock, no matter how many more', async () => {
      const many = Array.from({ length: 200_000 }, (_, i) => `many-${i}`);
      for (const count of [257, 5_000, 200_000]) {
        const call = locks.acquire(many.slice(0, count));
        await expect(call).rejects.toBeInstanceOf(LockKeyError);
        await expect(call).rejects.toThrow(/more than 256 keys, from 'many-0' on/);
      }
      expect(await locks.inspect('many-0')).toBeNull();
      const lock = await locks.acquire([...many.slice(0, 256), 'many-0']);
      expect(lock.keys).toHaveLength(256);
      await lock.release();
    });

    it.each(['\0', 'a b', ' ', '🔒', 'ключ', '{tag}', 'x'.repeat(1_024)])(
      'no key such as %p',
      async (key) => {
        const lock = await locks.acquire(key);
        expect(await locks.inspect(key)).toMatchObject({ key, owner: lock.owner });
        await lock.release();
      },
    );

    it.each([
      ['leaseTime', 99],
      ['leaseTime', Number.NaN],
      ['leaseTime', Infinity],
      ['leaseTime', '5 bananas'],
      ['leaseTime', ''],
      ['leaseTime', -1],
      ['leaseTime', {}],
      ['waitTime', -1],
      ['waitTime', 'soon'],
      ['maxHoldTime', 0],
      ['minHoldTime', -5],
      ['minHoldTime', Infinity],
      ['replicaTimeout', 0],
      ['replicas', 'most'],
      ['replicas', 1.5],
      ['replicas', -1],
      ['renew', 'yes'],
      ['reentrant', 1],
      ['signal', {}],
    ])('the option %s: %p', async (option, value) => {
      const call = locks.withLock('k', { [option]: value } as WithLockOptions, () => {});
      await expect(call).rejects.toMatchObject({ code: 'LOCK_OPTIONS', option, value });
      await expect(call).rejects.toThrow(new RegExp(`Option '${option}' is .*: it must be `));
    });

    it.each([
      ['ttl', /^There is no option 'ttl': the options are leaseTime, waitTime, /],
      ['leasTime', /^There is no option 'leasTime': did you mean 'leaseTime'\?$/],
      ['replicatimeout', /did you mean 'replicaTimeout'/],
    ])('an option that does not exist: %s', async (option, message) => {
      const call = locks.withLock('k', { [option]: 5 } as WithLockOptions, () => {});
      await expect(call).rejects.toMatchObject({ code: 'LOCK_OPTIONS', option, value: 5 });
      await expect(call).rejects.toThrow(message);
    });

    it.each<[string, unknown]>([
      ['null', null],
      ['a number', 5_000],
      ['a text', '5s'],
    ])('options that are no object: %s', async (_, options) => {
      const given = options as WithLockOptions;
      const message = /Option 'options' is .*: it must be an object/;
      await expect(locks.withLock('k', given, () => {})).rejects.toThrow(message);
      await expect(locks.acquire('k', given)).rejects.toThrow(message);
      await expect(locks.tryAcquire('k', given)).rejects.toThrow(message);
      expect(() => locks.elect('boss', given as object)).toThrow(message);
      for (const decorator of [LeaderOnly('k', given as object), ReplicaLocked('k', given)])
        expect(() => (decorator as MethodDecorator)({}, 'run', { value: async () => {} })).toThrow(
          /^@\w+ on Object\.run: Option 'options' is /,
        );
    });

    it.each([
      ['work that is missing', [{}, undefined], 'needs the work'],
      ['work that is no function', [{}, 'work'], 'needs the work'],
      ['options behind the work, which would be ignored', [() => 1, { leaseTime: '5s' }], 'before the work'],
    ])('and %s', async (_, args, message) => {
      const withLock = locks.withLock.bind(locks) as (...all: unknown[]) => Promise<unknown>;
      await expect(withLock('k', ...args)).rejects.toThrow(message);
    });
  });
});
