import { afterEach, describe, expect, it } from '@jest/globals';
import { concat, defer, from, Observable, of } from 'rxjs';
import type { LockEvent } from '../../lib/lock/events.js';
import type { ElectionChange, LockElection } from '../../lib/lock/election.js';
import { LockKeyError, LockLostError, LockOptionsError } from '../../lib/lock/errors.js';
import { LockService } from '../../lib/lock/lock-service.js';
import type { Lock } from '../../lib/lock/lock.js';
import type { LockDefaults } from '../../lib/lock/options.js';
import type { StoreReport } from '../../lib/store/lock-store.js';
import { MemoryServer } from '../../lib/store/memory/memory-server.js';
import { MemoryStore } from '../../lib/store/memory/memory-store.js';
import { lockDefaults } from '../support/lock-defaults.js';
import { ManualClock, settled } from '../support/manual-clock.js';
import { UNPRINTABLE } from '../support/unprintable.js';

const LEASE = 9_000;

/** Copies of an application on one server, which share a clock. */
class Copies {
  readonly clock = new ManualClock();
  readonly server = new MemoryServer(this.clock);
  readonly services: LockService[] = [];

  open(defaults: Partial<LockDefaults> = {}): LockService {
    const service = new LockService(
      new MemoryStore(this.clock, this.server),
      lockDefaults({ leaseTime: LEASE, shutdownTimeout: 30_000, ...defaults }),
      this.clock,
    );
    this.services.push(service);
    return service;
  }

  async close(): Promise<void> {
    const closing = Promise.all(this.services.map((service) => service.close()));
    await this.clock.advance(0);
    await closing;
  }
}

/** Work that ends when the test says so. */
class Work {
  isRunning = false;
  term: Lock | undefined;
  end: () => void = () => {};

  readonly run = (term: Lock): Promise<string> => {
    this.isRunning = true;
    this.term = term;
    return new Promise((resolve) => {
      this.end = () => {
        this.isRunning = false;
        resolve('done');
      };
    });
  };
}

function changesOf(election: LockElection): string[] {
  const types: string[] = [];
  election.changes.subscribe({
    next: ({ type }: ElectionChange) => types.push(type),
    error: (error: Error) => types.push(error.name),
    complete: () => types.push('over'),
  });
  return types;
}

describe('An election', () => {
  let copies: Copies;
  const open = (defaults?: Partial<LockDefaults>): LockService => copies.open(defaults);
  afterEach(() => copies.close());

  const three = async (): Promise<LockElection[]> => {
    copies = new Copies();
    const elections = [open(), open(), open()].map((service) => service.elect('boss'));
    await settled();
    return elections;
  };
  const leaders = (elections: readonly LockElection[]): number[] =>
    elections.flatMap(({ isLeader }, index) => (isLeader ? [index] : []));

  it('has one leader among three copies, and the next as soon as the leader resigns', async () => {
    const elections = await three();
    expect(leaders(elections)).toEqual([0]);
    const first = elections[0]!.term!;
    expect(await elections[1]!.leader()).toMatchObject({
      owner: first.owner,
      fencingToken: first.fencingToken,
    });

    await elections[0]!.resign();
    await settled();
    const [second] = leaders(elections);
    expect(leaders(elections)).toHaveLength(1);
    expect(second).not.toBe(0);
    expect(elections[second!]!.term!.fencingToken).toBeGreaterThan(first.fencingToken);
    expect(first.held).toBe(false);
  });

  it('keeps its leader for as long as the leader renews, and has the next after the lease of a dead leader', async () => {
    copies = new Copies();
    const leader = open();
    const leading = leader.elect('boss');
    await settled();
    const waiting = open().elect('boss');
    await copies.clock.advance(20 * LEASE);
    expect([leading.isLeader, waiting.isLeader]).toEqual([true, false]);
    // The process of the leader stands still: no timer of it runs, and it renews no more.
    copies.clock.freeze(LEASE + 1);
    expect(leading.isLeader).toBe(false);
    await copies.clock.advance(0);
    expect([leading.isLeader, waiting.isLeader].filter(Boolean)).toHaveLength(1);
  });

  it('tells each change once, and a late subscriber the present leadership first', async () => {
    const [election] = (await three()) as [LockElection];
    const changes = changesOf(election);
    expect(changes).toEqual(['elected']);
    copies.server.forceRelease('boss');
    await settled();
    expect(changes).toEqual(['elected', 'deposed']);
    await election.resign();
    expect(changesOf(election)).toEqual(['over']);
  });

  it('waits at a resignation for the work of the term, and begins no new work', async () => {
    const [election, other] = (await three()) as [LockElection, LockElection];
    const work = new Work();
    const running = election.runIfLeader(work.run);
    const resigning = election.resign();
    await copies.clock.advance(3 * LEASE);
    expect(work.term!.held).toBe(true);
    expect(other.isLeader).toBe(false);
    expect(await election.runIfLeader(() => 'more')).toBeUndefined();
    work.end();
    await resigning;
    expect(await running).toBe('done');
    expect(work.term!.held).toBe(false);
  });

  it.each([
    ['at once', undefined],
    ['after a pause', settled],
  ])('resigns from inside the work of the term %s, without waiting for itself', async (_, pause) => {
    const [election, other, third] = (await three()) as [LockElection, LockElection, LockElection];
    const changes = changesOf(election);
    const work = new Work();
    const running = election.runIfLeader(async (term) => {
      if (pause !== undefined) await pause();
      await election.resign();
      return work.run(term);
    });
    await settled();
    expect(work.isRunning).toBe(true);
    expect(work.term!.held).toBe(true);
    // The lock is held until the work has ended.
    expect(changes).toEqual(['elected']);
    expect([other.isLeader, third.isLeader]).toEqual([false, false]);
    work.end();
    expect(await running).toBe('done');
    await settled();
    expect(changes).toEqual(['elected', 'resigned', 'over']);
    expect([other.isLeader, third.isLeader].filter(Boolean)).toHaveLength(1);
  });

  it('runs work only on the leader, under the lock of the term', async () => {
    copies = new Copies();
    const [service, follower] = [open(), open()];
    const election = service.elect('boss');
    await settled();
    const seen = await election.runIfLeader(async (term) => {
      expect(service.current('boss')?.owner).toBe(term.owner);
      expect(service.assertHeld('boss').owner).toBe(term.owner);
      return service.withLock('boss', (inner) => inner.owner);
    });
    expect(seen).toBe(election.term!.owner);
    // Work that joined must not release the term.
    expect(election.isLeader).toBe(true);
    expect(await follower.elect('boss').runIfLeader(() => 'never')).toBeUndefined();
  });

  it('rejects work whose term is lost meanwhile', async () => {
    const [election] = (await three()) as [LockElection];
    const work = new Work();
    const running = election.runIfLeader(work.run);
    copies.server.forceRelease('boss');
    await settled();
    expect(work.term!.signal.aborted).toBe(true);
    work.end();
    await expect(running).rejects.toBeInstanceOf(LockLostError);
  });

  describe('with long-lived work', () => {
    it('starts the work with each term, and asks it to end at a resignation', async () => {
      copies = new Copies();
      const election = open().elect('boss');
      const terms: number[] = [];
      const over = election.run(async (term) => {
        terms.push(term.fencingToken);
        await new Promise<void>((resolve) => term.signal.addEventListener('abort', () => resolve()));
        // The lock is held until the work has ended.
        if (terms.length === 2) expect(term.held).toBe(true);
      });
      await settled();
      copies.server.forceRelease('boss');
      await copies.clock.advance(2_000);
      expect(terms).toHaveLength(2);
      await election.resign();
      await over;
      expect(terms[1]).toBeGreaterThan(terms[0]!);
      expect(election.isLeader).toBe(false);
    });

    it('gives the leadership back, pauses and stands again if the work ends or fails by itself', async () => {
      copies = new Copies();
      const service = open();
      const reports: StoreReport[] = [];
      service.reports.subscribe((report) => reports.push(report));
      let runs = 0;
      const election = service.elect('boss', { retryTime: 1_000 });
      const changes = changesOf(election);
      void election.run(() => {
        if (++runs === 1) throw new Error('no broker');
      });
      await settled();
      expect(changes).toEqual(['elected', 'resigned']);
      expect(reports.filter(({ code }) => code === 'election-work-failed')).toMatchObject([
        { level: 'error', message: expect.stringContaining('no broker') },
      ]);
      await copies.clock.advance(499);
      expect(runs).toBe(1);
      await copies.clock.advance(501);
      expect(runs).toBe(2);
      expect(changes).toEqual(['elected', 'resigned', 'elected', 'resigned']);
    });

    it.each(UNPRINTABLE)('reports the failure of work that throws %s', async (_, thrown) => {
      copies = new Copies();
      const service = open();
      const failures: StoreReport[] = [];
      service.reports.subscribe((report) => {
        if (report.code === 'election-work-failed') failures.push(report);
      });
      void service.elect('boss').run(() => {
        throw thrown;
      });
      await settled();
      expect(failures).toMatchObject([
        { level: 'error', message: expect.stringMatching(/^The work of the leader of 'boss' failed/) },
      ]);
    });

    it('says once that the work ended by itself at once, and not of work that lasts', async () => {
      copies = new Copies();
      const service = open();
      const ended: string[] = [];
      service.reports.subscribe(({ code, message }) => {
        if (code === 'election-work-ended') ended.push(message);
      });
      let runs = 0;
      void service.elect('short', { retryTime: 1_000 }).run(() => void runs++);
      void service.elect('long', { retryTime: 1_000 }).run(() => {
        return new Promise<void>((resolve) => copies.clock.after(1_500, resolve));
      });
      await copies.clock.advance(5_000);
      expect(runs).toBeGreaterThan(2);
      expect(ended).toEqual([
        expect.stringMatching(
          /^The work of the leader of 'short' ended by itself after 0 ms, so this process/,
        ),
      ]);
    });

    it('lets the work resign from the election, and ends', async () => {
      copies = new Copies();
      const election = open().elect('boss');
      const changes = changesOf(election);
      let runs = 0;
      const over = election.run(async () => {
        runs++;
        await settled();
        await election.resign();
      });
      await over;
      await settled();
      expect(runs).toBe(1);
      expect(changes).toEqual(['elected', 'resigned', 'over']);
    });

    it('begins no work if the process resigns as the term begins', async () => {
      const [election] = (await three()) as [LockElection];
      let runs = 0;
      const over = election.run(() => void runs++);
      await election.resign();
      await over;
      expect(runs).toBe(0);
    });

    it('aborts the signal of the work if other code releases the lock', async () => {
      copies = new Copies();
      const election = open().elect('boss');
      const signals: AbortSignal[] = [];
      void election.run((term) => {
        signals.push(term.signal);
        return new Promise<void>((resolve) => term.signal.addEventListener('abort', () => resolve()));
      });
      await settled();
      await election.term!.release();
      await settled();
      expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    });

    it('runs an Observable until the signal aborts, and starts it with the next term', async () => {
      copies = new Copies();
      const election = open().elect('boss');
      let subscribed = 0;
      const ended: boolean[] = [];
      const over = election.run(
        (term) =>
          new Observable(() => {
            subscribed++;
            return () => void ended.push(term.held);
          }),
      );
      await settled();
      expect([subscribed, election.isLeader]).toEqual([1, true]);
      copies.server.forceRelease('boss');
      await settled();
      expect([subscribed, ended]).toEqual([2, [false]]);
      await election.resign();
      await over;
      // The lock was held until the subscription had ended.
      expect(ended).toEqual([false, true]);
    });

    it('runs an async generator to its end, and ends it at its next step if the signal aborts', async () => {
      copies = new Copies();
      const election = open().elect('boss');
      const steps: string[] = [];
      const over = election.run(async function* (term) {
        try {
          for (;;) {
            steps.push('step');
            yield new Promise<void>((resolve) => term.signal.addEventListener('abort', () => resolve()));
          }
        } finally {
          steps.push(term.held ? 'end under the lock' : 'end without the lock');
        }
      });
      await settled();
      expect(steps).toEqual(['step']);
      await election.resign();
      await over;
      expect(steps).toEqual(['step', 'end under the lock']);
    });

    it.each<[string, (term: Lock) => unknown, boolean]>([
      ['an error of its own', () => new TypeError('could not flush'), true],
      ['a loss of another lock', () => LockLostError.notHeld(['other'], new Date()), true],
      ["the signal's reason", (term) => term.signal.reason as unknown, false],
      ['an AbortError', () => Object.assign(new Error('aborted'), { name: 'AbortError' }), false],
      ['an error caused by the abort', (term) => new Error('no', { cause: term.signal.reason }), false],
      ['the loss of the term', () => LockLostError.notHeld(['boss'], new Date()), false],
    ])('reports a failure after the abort: %s', async (_, errorOf, isReported) => {
      for (const end of ['resigns', 'is deposed']) {
        copies = new Copies();
        const service = open();
        const reports: string[] = [];
        service.reports.subscribe(({ code, message }) => {
          if (code === 'election-work-failed') reports.push(message);
        });
        const election = service.elect('boss');
        void election.run(async (term) => {
          await new Promise<void>((resolve) => term.signal.addEventListener('abort', () => resolve()));
          throw errorOf(term);
        });
        await settled();
        if (end === 'resigns') await election.resign();
        else copies.server.forceRelease('boss');
        await settled();
        expect(reports).toEqual(isReported ? [expect.stringMatching(/'boss' failed, as it ended/)] : []);
        await copies.close();
      }
    });

    it('does not lead again before the work of a lost term has ended', async () => {
      copies = new Copies();
      const service = open();
      const overdue: string[] = [];
      service.reports.subscribe(({ code, message }) => {
        if (code === 'election-work-overdue') overdue.push(message);
      });
      const election = service.elect('boss');
      const other = open().elect('boss');
      const work = new Work();
      void election.run(work.run);
      await settled();
      copies.server.forceRelease('boss');
      await settled();
      expect([election.isLeader, other.isLeader]).toEqual([false, true]);
      await other.resign();
      await copies.clock.advance(LEASE);
      expect([election.isLeader, overdue]).toEqual([false, []]);
      await copies.clock.advance(3 * LEASE);
      expect([election.isLeader, overdue]).toEqual([
        false,
        [expect.stringMatching(/^The work of the leader of 'boss' still runs 10 s after its term has ended/)],
      ]);
      work.end();
      await settled();
      expect([election.isLeader, work.isRunning]).toEqual([true, true]);
      work.end();
    });

    it('does not lead without it after a resignation, before the work of a lost term has ended', async () => {
      copies = new Copies();
      const service = open();
      const works: Lock[] = [];
      let end!: () => void;
      service.elections.declare('boss', undefined, (term) => {
        works.push(term);
        return new Promise<void>((resolve) => (end = resolve));
      });
      const first = service.elect('boss');
      await settled();
      copies.server.forceRelease('boss');
      await settled();
      await first.resign();
      const second = service.elect('boss');
      await copies.clock.advance(20_000);
      expect([second.isLeader, works.length]).toEqual([false, 1]);
      end();
      await settled();
      expect([second.isLeader, works.length]).toEqual([true, 2]);
      end();
    });

    it('has one such work', async () => {
      copies = new Copies();
      const election = open().elect('boss');
      void election.run(new Work().run);
      await expect(election.run(() => {})).rejects.toThrow(/'boss' already runs long-lived work/);
    });
  });

  it('stands again after a resignation if asked, and begins when the old election has ended', async () => {
    const [election] = (await three()) as [LockElection];
    const service = copies.services[0]!;
    let asked = 0;
    service.observe({
      onAsked() {
        asked++;
        return () => {};
      },
    });
    const log: string[] = [];
    election.changes.subscribe(({ type }) => log.push(`old ${type}`));
    const work = new Work();
    const running = election.runIfLeader(work.run);
    const resigning = election.resign();
    const next = service.elect('boss', { retryTime: 500 });
    expect(next).not.toBe(election);
    expect(service.elect('boss')).toBe(next);
    next.changes.subscribe(({ type }) => log.push(`new ${type}`));
    await copies.clock.advance(LEASE);
    expect(log).toEqual(['old elected']);
    // Nor does the new election wait in the queue for the lock of its own process.
    expect(asked).toBe(0);
    work.end();
    await Promise.all([running, resigning]);
    for (const other of copies.services.slice(1)) await other.elect('boss').resign();
    await settled();
    expect(log).toEqual(['old elected', 'old resigned', 'new elected']);
    expect(service.health().elections).toHaveLength(1);
  });

  it('resigns from an election that has not begun, also inside the work of the old one', async () => {
    const [election] = (await three()) as [LockElection];
    const service = copies.services[0]!;
    await election.runIfLeader(async () => {
      await election.resign();
      await service.elect('boss').resign();
    });
    await settled();
    expect(service.health().elections).toEqual([]);
  });

  it('runs work inside the work of the term while a resignation waits', async () => {
    const [election] = (await three()) as [LockElection];
    const service = copies.services[0]!;
    const gate = new Work();
    const running = election.runIfLeader(async (term) => {
      await gate.run(term);
      return [
        await election.runIfLeader(() => 'inner'),
        await service.elect('boss').runIfLeader(() => 'inner by a later election'),
      ];
    });
    const resigning = election.resign();
    expect(await election.runIfLeader(() => 'outer')).toBeUndefined();
    gate.end();
    expect(await running).toEqual(['inner', 'inner by a later election']);
    await resigning;
  });

  it('tells a subscriber that an event brought in of the leadership once', async () => {
    copies = new Copies();
    const service = open();
    const seen: string[] = [];
    service.events.subscribe(({ type }) => {
      if (type === 'elected') election.changes.subscribe((change) => seen.push(change.type));
    });
    const election = service.elect('boss');
    await settled();
    expect(seen).toEqual(['elected']);
  });

  it('takes no lock if an observer of acquisitions resigns as it stands again', async () => {
    copies = new Copies();
    const service = open();
    let asked = 0;
    service.observe({
      onAsked() {
        if (++asked === 2) void election.resign();
        return () => {};
      },
    });
    const election = service.elect('boss', { retryTime: 10 });
    await settled();
    await election.term!.release();
    await copies.clock.advance(10);
    expect(asked).toBe(2);
    expect(service.held).toEqual([]);
    expect(await service.isLocked('boss')).toBe(false);
  });

  it('says that its key keeps a result of once, and leads when the result has ended', async () => {
    copies = new Copies();
    const service = open();
    const reports: StoreReport[] = [];
    service.reports.subscribe((report) => reports.push(report));
    await service.once('boss', { keepFor: '1h' }, () => 'done');
    const election = service.elect('boss', { retryTime: 1_000 });
    await copies.clock.advance(10_000);
    expect([election.isLeader, await election.leader()]).toEqual([false, null]);
    expect(reports.map(({ code }) => code)).toEqual(['election-refused']);
    expect(reports[0]!.message).toMatch(/'boss', and tries again every 1000 ms: its key keeps the result/);
    await service.forceRelease('boss');
    await copies.clock.advance(1_000);
    expect(election.isLeader).toBe(true);
    expect(reports.map(({ code }) => code)).toEqual(['election-refused', 'election-resumed', 'elected']);
  });

  it('refuses work that is no function', async () => {
    const [election] = (await three()) as [LockElection];
    const noWork = undefined as unknown as () => void;
    await expect(election.runIfLeader(noWork)).rejects.toThrow(/^runIfLeader needs the work/);
    await expect(election.run(noWork)).rejects.toThrow(/^run needs the work/);
    expect(election.isLeader).toBe(true);
  });

  describe('waits for a result that comes in parts', () => {
    it.each<[string, (end: Promise<string>) => Observable<string>]>([
      ['an Observable', (end) => concat(of('first'), from(end))],
      ['an Observable that begins late', (end) => defer(() => end)],
    ])('%s', async (_, source) => {
      const [election, other] = (await three()) as [LockElection, LockElection];
      const work = new Work();
      const running = election.runIfLeader((term) => source(work.run(term)));
      const resigning = election.resign();
      await copies.clock.advance(LEASE);
      expect([work.term!.held, other.isLeader]).toEqual([true, false]);
      work.end();
      expect(await running).toBe('done');
      await resigning;
      expect(work.term!.held).toBe(false);
    });

    it('an async generator', async () => {
      const [election] = (await three()) as [LockElection];
      const work = new Work();
      const running = election.runIfLeader(async function* (term) {
        yield 1;
        yield await work.run(term);
        return 'returned';
      });
      const resigning = election.resign();
      await settled();
      expect(work.term!.held).toBe(true);
      work.end();
      expect(await running).toBe('returned');
      await resigning;
    });

    it('but not for a stream, which is a value', async () => {
      const [election] = (await three()) as [LockElection];
      const stream = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
      expect(await election.runIfLeader(() => stream)).toBe(stream);
    });
  });

  it('ends at a shutdown without waiting for shutdownTimeout, and waits for work that must end', async () => {
    copies = new Copies();
    const service = open();
    const [idle, busy] = [service.elect('idle'), service.elect('busy')];
    await settled();
    const work = new Work();
    const running = busy.runIfLeader(work.run);
    let isDrained = false;
    const draining = service.drain().then(() => (isDrained = true));
    await settled();
    expect([idle.isLeader, busy.isLeader, isDrained]).toEqual([false, true, false]);
    work.end();
    await draining;
    await running;
    await service.close();
    await settled();
    expect(service.health().elections).toEqual([]);
    expect(copies.clock.timers).toBe(0);
  });

  it('ends at a shutdown after shutdownTimeout if work does not end', async () => {
    copies = new Copies();
    const service = open({ shutdownTimeout: 5_000 });
    const election = service.elect('boss');
    await settled();
    const work = new Work();
    const running = election.runIfLeader(work.run);
    const closing = service.drain().then(() => service.close());
    await copies.clock.advance(5_000);
    await closing;
    expect(work.term!.signal.aborted).toBe(true);
    work.end();
    await expect(running).rejects.toBeInstanceOf(LockLostError);
    await election.resign();
  });

  it('lasts, although the module neither renews nor holds locks for long', async () => {
    copies = new Copies();
    const election = open({ renew: false, maxHoldTime: 1_000 }).elect('boss');
    const changes = changesOf(election);
    await copies.clock.advance(5 * LEASE);
    expect(changes).toEqual(['elected']);
  });

  it('is one for each key and process, with one set of options', async () => {
    copies = new Copies();
    const service = open();
    const election = service.elect('boss', { leaseTime: '3s' });
    expect(service.elect('boss')).toBe(election);
    expect(service.elect('boss', { leaseTime: '3s' })).toBe(election);
    expect(service.elect('boss', { leaseTime: 3_000, replicas: undefined, retryTime: 2_000 })).toBe(election);
    expect(service.elect('other')).not.toBe(election);
    expect(() => service.elect('boss', { leaseTime: '4s' })).toThrow(/'boss' with other options/);
    expect(() => service.elect('x', { waitTime: 1 } as object)).toThrow(LockOptionsError);
    expect(() => service.elect('x', { retryTime: 0 })).toThrow(/retryTime/);
    expect(() => service.elect('x', { leaseTime: 1 })).toThrow(/leaseTime/);
    expect(() => service.elect('')).toThrow(LockKeyError);
    await election.resign();
    expect(service.elect('boss')).not.toBe(election);
  });

  it('resigns from inside the work of the term, once the work has ended', async () => {
    const [election, other] = (await three()) as [LockElection, LockElection];
    const done = await election.runIfLeader(async (term) => {
      await election.resign();
      expect(term.held).toBe(true);
      expect(other.isLeader).toBe(false);
      return 'done';
    });
    await settled();
    expect(done).toBe('done');
    expect(election.isLeader).toBe(false);
    expect(changesOf(election)).toEqual(['over']);
  });

  it('stands again after any code has released the lock of the term', async () => {
    copies = new Copies();
    const election = open().elect('boss', { retryTime: 1_000 });
    await settled();
    const changes = changesOf(election);
    await election.term!.release();
    await settled();
    expect(election.isLeader).toBe(false);
    await copies.clock.advance(1_000);
    expect(election.isLeader).toBe(true);
    expect(changes).toEqual(['elected', 'resigned', 'elected']);
  });

  it('resigns before it was ever elected, and leaves nothing behind', async () => {
    const [, second] = (await three()) as [LockElection, LockElection];
    const changes = changesOf(second);
    await second.resign();
    expect(changes).toEqual(['over']);
  });

  it('appears in events, reports and health', async () => {
    copies = new Copies();
    const service = open();
    const events: LockEvent[] = [];
    const codes: string[] = [];
    const messages: string[] = [];
    service.events.subscribe((event) => events.push(event));
    service.reports.subscribe(({ code, message }) => {
      codes.push(code);
      messages.push(message);
    });
    const election = service.elect('boss', { label: 'the boss' });
    await settled();
    expect(service.health().elections).toEqual([{ key: 'boss', label: 'the boss', isLeader: true }]);
    const { fencingToken } = election.term!;
    await copies.clock.advance(1_500);
    await election.resign();
    expect(events.filter(({ type }) => /elected|resigned/.test(type))).toMatchObject([
      { type: 'elected', keys: ['boss'], label: 'the boss', fencingToken, led: 0 },
      { type: 'resigned', keys: ['boss'], fencingToken, led: 1_500 },
    ]);
    expect(codes).toEqual(['elected', 'resigned']);
    expect(messages).toEqual([
      `This process leads 'boss' (term ${fencingToken}).`,
      `This process has resigned from 'boss' after 1.5 s (term ${fencingToken}).`,
    ]);
  });
});
