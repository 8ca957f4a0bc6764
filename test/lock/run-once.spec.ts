import { afterEach, describe, expect, it } from '@jest/globals';
import { of } from 'rxjs';
import { systemClock } from '../../lib/common/clock.js';
import {
  LockContendedError,
  LockKeyError,
  LockLostError,
  LockOptionsError,
  LockServiceClosedError,
} from '../../lib/lock/errors.js';
import type { LockEvent } from '../../lib/lock/events.js';
import { LockService } from '../../lib/lock/lock-service.js';
import type { OnceOptions } from '../../lib/lock/once-options.js';
import type { Holder, RenewOutcome } from '../../lib/store/lock-store.js';
import { MemoryServer } from '../../lib/store/memory/memory-server.js';
import { MemoryStore } from '../../lib/store/memory/memory-store.js';
import { until } from '../support/eventually.js';
import { settled } from '../support/manual-clock.js';
import { fakeService, serviceDefaults } from './fake-service.js';

const HOUR: OnceOptions = { keepFor: '1h' };
const services: LockService[] = [];

afterEach(() => Promise.all(services.splice(0).map((service) => service.close())));

/** Services of several processes on the same data. */
function copies(count: number): LockService[] {
  const server = new MemoryServer(systemClock);
  const made = Array.from(
    { length: count },
    () => new LockService(new MemoryStore(systemClock, server), { ...serviceDefaults, waitTime: 5_000 }),
  );
  services.push(...made);
  return made;
}

function eventsOf(locks: LockService): LockEvent[] {
  const events: LockEvent[] = [];
  locks.events.subscribe((event) => events.push(event));
  return events;
}

/** A promise and the function that resolves it. */
function gate(): { passed: Promise<void>; open(): void } {
  let open!: () => void;
  const passed = new Promise<void>((resolve) => (open = resolve));
  return { passed, open };
}

describe('Work that runs once', () => {
  it('runs in one of three processes, and all sixty callers get its result', async () => {
    const all = copies(3);
    let runs = 0;
    const work = async (): Promise<{ run: number }> => {
      const run = ++runs;
      await new Promise((resolve) => setTimeout(resolve, 20));
      return { run };
    };
    const calls = Array.from({ length: 60 }, (_, i) => all[i % 3]!.once('k', HOUR, work));
    const results = await Promise.all(calls);
    expect(runs).toBe(1);
    expect(results.filter(({ ran }) => ran)).toHaveLength(1);
    for (const { result } of results) expect(result).toEqual({ run: 1 });
    expect(await all[1]!.once('k', HOUR, work)).toEqual({ result: { run: 1 }, ran: false });
  });

  it('wakes a thousand waiters of a process without a question for each', async () => {
    const [runner, other] = copies(2) as [LockService, LockService];
    const end = gate();
    const running = runner.once('k', HOUR, () => end.passed.then(() => 'done'));
    await until(() => other.isLocked('k'), { what: 'the work runs' });
    const store = other['store'];
    let asked = 0;
    const acquire = store.acquire.bind(store);
    const inspect = store.inspect.bind(store);
    const waiting = Array.from({ length: 1_000 }, () => other.once('k', HOUR, () => 'again'));
    await settled();
    store.acquire = (request) => (asked++, acquire(request));
    store.inspect = (key) => (asked++, inspect(key));
    end.open();
    expect(await running).toEqual({ result: 'done', ran: true });
    for (const each of await Promise.all(waiting)) expect(each).toEqual({ result: 'done', ran: false });
    expect(asked).toBeLessThan(10);
  });

  it('runs again by the next caller if it fails, and nothing is kept', async () => {
    const [one, other] = copies(2) as [LockService, LockService];
    const end = gate();
    const failing = one.once('k', HOUR, async () => {
      await end.passed;
      throw new Error('the printer is on fire');
    });
    const refused = expect(failing).rejects.toThrow('the printer is on fire');
    await until(() => other.isLocked('k'), { what: 'the work runs' });
    const waiting = other.once('k', HOUR, () => 'second');
    await settled();
    end.open();
    await refused;
    expect(await waiting).toEqual({ result: 'second', ran: true });
    expect(await one.once('k', HOUR, () => 'third')).toEqual({ result: 'second', ran: false });
  });

  it('runs again once keepFor is over', async () => {
    const [locks] = copies(1) as [LockService];
    await locks.once('k', { keepFor: 1_000 }, () => 1);
    expect(await locks.once('k', { keepFor: 1_000 }, () => 2)).toEqual({ result: 1, ran: false });
    await until(async () => (await locks.once('k', { keepFor: 1_000 }, () => 2)).result === 2, {
      what: 'the result has ended',
    });
  });

  it('has the lock for what it does', async () => {
    const [locks] = copies(1) as [LockService];
    const { result } = await locks.once('k', HOUR, async (lock) => {
      lock.assertHeld();
      expect(locks.current('k')).toBe(lock);
      return locks.withLock('k', (inner) => inner.owner === lock.owner);
    });
    expect(result).toBe(true);
    expect(locks.held).toEqual([]);
  });

  it('keeps the result only when work that joined the lock has ended, too', async () => {
    const [locks, other] = copies(2) as [LockService, LockService];
    const end = gate();
    const running = locks.once('k', HOUR, () => {
      void locks.withLock('k', () => end.passed);
      return 'done';
    });
    await settled();
    expect(await other.isLocked('k')).toBe(true);
    end.open();
    expect(await running).toEqual({ result: 'done', ran: true });
    expect(await other.inspect('k')).toMatchObject({ kept: { result: 'done' } });
  });

  it('may run other work once inside, but not itself, nor under a lock on its own key', async () => {
    const [locks] = copies(1) as [LockService];
    await locks.once('outer', HOUR, async () => {
      expect(await locks.once('inner', HOUR, () => 1)).toEqual({ result: 1, ran: true });
      await expect(locks.once('outer', HOUR, () => 1)).rejects.toThrow(/once cannot run under it/);
    });
    await locks.withLock('k', async () => {
      await expect(locks.once('k', HOUR, () => 1)).rejects.toBeInstanceOf(LockKeyError);
    });
  });

  it('emits whether it ran or its result was kept', async () => {
    const [one, other] = copies(2) as [LockService, LockService];
    const [ofOne, ofOther] = [eventsOf(one), eventsOf(other)];
    await one.once('k', { ...HOUR, label: 'job' }, () => 1);
    await other.once('k', { ...HOUR, label: 'job' }, () => 2);
    const { owner, fencingToken } = ofOne[0] as Extract<LockEvent, { type: 'acquired' }>;
    expect(ofOne.map(({ type }) => type)).toEqual(['acquired', 'released', 'ran']);
    expect(ofOne[2]).toEqual({
      type: 'ran',
      keys: ['k'],
      label: 'job',
      owner,
      fencingToken,
      keepFor: 3_600_000,
    });
    expect(ofOther).toEqual([{ type: 'kept', keys: ['k'], label: 'job', owner, waited: expect.any(Number) }]);
  });

  it('rejects if the wait for the run ends first, or the caller’s signal aborts', async () => {
    const [one, other] = copies(2) as [LockService, LockService];
    const end = gate();
    const running = one.once('k', HOUR, () => end.passed);
    await until(() => other.isLocked('k'), { what: 'the work runs' });
    await expect(other.once('k', { ...HOUR, waitTime: 30 }, () => 1)).rejects.toThrow(
      /^Lock 'k' is held by rl:\S+ and did not become free within/,
    );
    await expect(other.once('k', { ...HOUR, waitTime: 0 }, () => 1)).rejects.toBeInstanceOf(
      LockContendedError,
    );
    const gone = new AbortController();
    const waiting = other.once('k', { ...HOUR, signal: gone.signal }, () => 1);
    await settled();
    gone.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    await expect(other.once('k', { ...HOUR, signal: gone.signal }, () => 1)).rejects.toThrow('gone');
    end.open();
    expect(await running).toEqual({ result: undefined, ran: true });
  });
});

describe('The result of work that runs once', () => {
  it.each([
    ['undefined', undefined, undefined],
    ['null', null, null],
    ['false', false, false],
    ['an empty text', '', ''],
    ['a Date, as text', new Date(0), '1970-01-01T00:00:00.000Z'],
    ['an object, without its undefined properties', { a: 1, b: undefined }, { a: 1 }],
    ['a list', [1, 'zwei', null, { drei: 3 }], [1, 'zwei', null, { drei: 3 }]],
    ['a text of 64 KiB', 'x'.repeat(65_534), 'x'.repeat(65_534)],
  ])('may be %s, and the first caller gets the same as the second', async (_, returned, expected) => {
    const [locks] = copies(1) as [LockService];
    const first = await locks.once<unknown>('k', HOUR, () => returned);
    const second = await locks.once<unknown>('k', HOUR, () => 'again');
    expect(first).toStrictEqual({ result: expected, ran: true });
    expect(second).toStrictEqual({ result: expected, ran: false });
  });

  const cycle: Record<string, unknown> = {};
  cycle['self'] = cycle;
  it.each<[string, unknown, RegExp]>([
    ['a bigint', 1n, /it is a bigint/],
    ['a bigint inside', { id: 1n }, /JSON.stringify fails \(.*BigInt/],
    ['a cycle', cycle, /JSON.stringify fails \(Converting circular structure/],
    ['a function', () => 1, /it is a function/],
    ['a symbol', Symbol('s'), /it is a symbol/],
    ['an Observable', of(1), /it is a stream, an iterator or an Observable/],
    ['an async iterable', { async *[Symbol.asyncIterator]() {} }, /it is a stream/],
    ['a generator', [1].values(), /it is a stream, an iterator/],
    ['a Response', new Response('body'), /it is a stream/],
    ['a Blob', new Blob(['body']), /it is a stream/],
    ['an object whose toJSON returns nothing', { toJSON: () => undefined }, /its toJSON returns undefined/],
    ['larger than 64 KiB', 'x'.repeat(65_535), /it has 65537 bytes, and 65536 are the most/],
    ['larger than 64 KiB in UTF-8', '€'.repeat(22_000), /it has 66002 bytes/],
  ])('is refused if it is %s: nothing is kept, and the next caller runs', async (_, returned, why) => {
    const [locks] = copies(1) as [LockService];
    const refused = locks.once<unknown>('k', HOUR, () => returned);
    await expect(refused).rejects.toBeInstanceOf(LockOptionsError);
    await expect(refused).rejects.toThrow(why);
    await expect(refused).rejects.toMatchObject({ option: 'result', keys: ['k'] });
    expect(await locks.inspect('k')).toBeNull();
    expect(await locks.once('k', HOUR, () => 1)).toEqual({ result: 1, ran: true });
  });

  it('is each caller’s own copy', async () => {
    const [locks] = copies(1) as [LockService];
    const { result } = await locks.once('k', HOUR, () => ({ list: [1] }));
    result.list.push(2);
    const [a, b] = await Promise.all([1, 2].map(() => locks.once('k', HOUR, () => ({ list: [0] }))));
    a!.result.list.push(3);
    expect(b!.result).toEqual({ list: [1] });
  });
});

describe('The options of once', () => {
  it.each<[string, unknown, RegExp]>([
    [
      'no options',
      undefined,
      /^once\('k'\): Option 'keepFor' is undefined: it must be milliseconds from 1000 to 31622400000/,
    ],
    ['a number', 5_000, /^once\('k'\): Option 'keepFor' is undefined/],
    ['no keepFor', {}, /^once\('k'\): Option 'keepFor' is undefined/],
    ['a keepFor of half a second', { keepFor: 500 }, /^once\('k'\): Option 'keepFor' is 500/],
    ['a keepFor of two years', { keepFor: '2y' }, /^once\('k'\): Option 'keepFor' is '2y'/],
    [
      'minHoldTime',
      { keepFor: '1h', minHoldTime: 5 },
      /^once\('k'\): Option 'minHoldTime' is 5: it must be left out with keepFor/,
    ],
    ['reentrant', { keepFor: '1h', reentrant: true }, /^once\('k'\): There is no option 'reentrant'/],
    [
      'a misspelt option',
      { keepFor: '1h', leasetime: 5 },
      /^once\('k'\): There is no option 'leasetime': did you mean 'leaseTime'/,
    ],
    ['a wrong option', { keepFor: '1h', leaseTime: 5 }, /^Option 'leaseTime' is 5/],
  ])('refuse %s before anything runs', async (_, options, why) => {
    const [locks] = copies(1) as [LockService];
    let runs = 0;
    const refused = locks.once('k', options as OnceOptions, () => runs++);
    await expect(refused).rejects.toBeInstanceOf(LockOptionsError);
    await expect(refused).rejects.toThrow(why);
    expect(runs).toBe(0);
  });

  it('take a keepFor of a month, longer than quarantine', async () => {
    const [locks] = copies(1) as [LockService];
    await locks.once('k', { keepFor: '30d' }, () => 1);
    expect((await locks.inspect('k'))!.remainingTime).toBeGreaterThan(29 * 86_400_000);
  });

  it('refuse several keys, and work that is no function', async () => {
    const [locks] = copies(1) as [LockService];
    await expect(locks.once(['a', 'b'] as never, HOUR, () => 1)).rejects.toBeInstanceOf(LockKeyError);
    await expect(locks.once('', HOUR, () => 1)).rejects.toBeInstanceOf(LockKeyError);
    await expect(locks.once('k', HOUR, 5 as never)).rejects.toBeInstanceOf(TypeError);
  });
});

describe('A key that keeps a result is no lock', () => {
  it('to inspect, isLocked and forceRelease', async () => {
    const [one, other] = copies(2) as [LockService, LockService];
    let token = 0;
    let owner = '';
    await one.once('k', HOUR, (lock) => {
      [token, owner] = [lock.fencingToken, lock.owner];
      return { paid: true };
    });
    expect(await other.inspect('k')).toEqual({
      key: 'k',
      owner,
      fencingToken: token,
      remainingTime: expect.any(Number),
      limit: 1,
      holders: 0,
      kept: { result: { paid: true } },
    });
    expect(await other.isLocked('k')).toBe(false);
    expect(await other.forceRelease('k')).toBe(true);
    expect(await other.inspect('k')).toBeNull();
    expect(await other.once('k', HOUR, (lock) => lock.fencingToken > token)).toEqual({
      result: true,
      ran: true,
    });
  });

  it('but keeps plain locks out, with an error that says why', async () => {
    const [one, other] = copies(2) as [LockService, LockService];
    await one.once('k', HOUR, () => 1);
    expect(await other.tryAcquire('k')).toBeNull();
    const refused = other.acquire('k', { waitTime: 20 });
    await expect(refused).rejects.toBeInstanceOf(LockContendedError);
    await expect(refused).rejects.toThrow(
      /^Lock 'k' was not taken: its key keeps the result of work that ran once \(LockService.once\), for 3\d{3} s more\. Use another key/,
    );
    await expect(other.acquire(['free', 'k'], { waitTime: 0 })).rejects.toBeInstanceOf(LockContendedError);
    expect(await other.inspect('free')).toBeNull();
  });

  it('and a plain lock that waits gets its turn when the result ends', async () => {
    const [one, other] = copies(2) as [LockService, LockService];
    const end = gate();
    const running = one.once('k', { keepFor: 1_000 }, () => end.passed);
    await until(() => other.isLocked('k'), { what: 'the work runs' });
    const order: string[] = [];
    const lock = other.withLock('k', () => order.push('lock'));
    await settled();
    const once = other.once('k', HOUR, () => 1).then(({ ran }) => order.push(`once, ran ${String(ran)}`));
    await settled();
    end.open();
    await Promise.all([running, lock, once]);
    expect(order).toEqual(['once, ran false', 'lock']);
  });
});

describe('A lock that is lost while the work runs', () => {
  it('rejects with the loss, and nothing is kept', async () => {
    const [one, other] = copies(2) as [LockService, LockService];
    const refused = one.once('k', HOUR, async () => {
      await other.forceRelease('k');
      return 'done';
    });
    await expect(refused).rejects.toBeInstanceOf(LockLostError);
    expect(await other.once('k', HOUR, () => 'next')).toEqual({ result: 'next', ran: true });
  });

  it('also if the work released the lock itself', async () => {
    const [locks] = copies(1) as [LockService];
    const refused = locks.once('k', HOUR, (lock) => lock.release());
    await expect(refused).rejects.toThrow(/it had been released by this process/);
    expect(await locks.inspect('k')).toBeNull();
  });

  it('has the error of the work as its cause', async () => {
    const [one, other] = copies(2) as [LockService, LockService];
    const own = new Error('own');
    const refused = one.once('k', HOUR, async (lock) => {
      await other.forceRelease('k');
      await until(() => lock.signal.aborted, { what: 'the lock is lost' });
      throw own;
    });
    await expect(refused).rejects.toMatchObject({ code: 'LOCK_LOST', cause: own });
  });
});

describe('The write that keeps the result', () => {
  const KEPT_HOLDER: Holder = {
    owner: 'rl:other-host:1:2',
    token: 7,
    remainingTime: 5_000,
    inCooldown: false,
    limit: 1,
    keepsResult: true,
  };
  const lost: [string, RenewOutcome, RegExp][] = [
    [
      'finds the key gone',
      { kind: 'gone', key: 'k' },
      /its key had been deleted or taken before the result was kept/,
    ],
    [
      'is not confirmed in time',
      { kind: 'expired', why: { kind: 'unconfirmed', confirmed: 0, required: 1, replicas: [] } },
      /its lease ended before the result was confirmed, and nothing is kept: 0 of the 1 required replicas/,
    ],
    [
      'is refused until the lease ends',
      { kind: 'expired', why: { kind: 'unavailable', reason: 'refused: OOM.' } },
      /nothing is kept: refused: OOM\. Stop/,
    ],
  ];

  it.each(lost)('rejects with the loss if it %s', async (_, outcome, why) => {
    const { store, locks, events } = fakeService();
    const running = locks.once('k', HOUR, () => 'done');
    const refused = expect(running).rejects.toThrow(why);
    await settled();
    store.grant();
    await settled();
    expect(store.renewals[0]).toMatchObject({
      leaseTime: 3_600_000,
      purpose: { result: '"done"', replicas: 'all' },
    });
    store.renewals[0]!.answer(outcome);
    await refused;
    expect(events.map(({ type }) => type)).toEqual(['acquired', 'lost']);
    expect(store.releases).toEqual([]);
  });

  it('is awaited by a shutdown, and by no further renewal', async () => {
    const { clock, store, locks } = fakeService();
    const running = locks.once('k', HOUR, () => 'done');
    await settled();
    store.grant();
    await settled();
    let isDrained = false;
    const drained = locks.drain().then(() => (isDrained = true));
    store.changes.next({ key: 'k' });
    clock.freeze(100);
    await settled();
    expect(isDrained).toBe(false);
    expect(store.renewals).toHaveLength(1);
    expect(locks.held).toEqual([]);
    await expect(locks.once('other', HOUR, () => 1)).rejects.toBeInstanceOf(LockServiceClosedError);
    store.renewed();
    expect(await running).toEqual({ result: 'done', ran: true });
    await drained;
  });

  it('is no question for a caller that reads a result first', async () => {
    const { store, locks } = fakeService();
    store.inspectOutcome = { kind: 'kept', holder: KEPT_HOLDER, result: '{"a":1}' };
    expect(await locks.once('k', HOUR, () => 'again')).toEqual({ result: { a: 1 }, ran: false });
    expect(store.asked).toHaveLength(0);
  });

  it('is read again by a caller that found the key busy with a result which is gone', async () => {
    const { store, locks } = fakeService();
    const running = locks.once('k', HOUR, () => 'again');
    await settled();
    store.last.answer({ kind: 'busy', key: 'k', holder: KEPT_HOLDER });
    await settled();
    expect(store.asked).toHaveLength(2);
    store.grant();
    await settled();
    store.renewed();
    expect(await running).toEqual({ result: 'again', ran: true });
  });
});
