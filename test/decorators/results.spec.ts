import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Injectable, type Type } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  BehaviorSubject,
  concatMap,
  firstValueFrom,
  from,
  isObservable,
  map,
  NEVER,
  Observable as Declared,
  of,
  ReplaySubject,
} from 'rxjs';
import type { Observable } from 'rxjs';
import { LockService, ReplicaLocked, ReplicaLockModule } from '../../lib/index.js';
import { resultKindOf } from '../../lib/decorators/result-kind.js';
import { until } from '../support/eventually.js';
import { free, Gates, locked } from './apps.js';

const gates = new Gates();

/** Does as a compiler that emits no types of decorated methods (esbuild, tsx). */
function withoutTypes(type: Type, ...names: string[]): void {
  for (const name of names) {
    const descriptor = Object.getOwnPropertyDescriptor(type.prototype, name)!;
    (ReplicaLocked('key', { waitTime: 0 }) as MethodDecorator)(type.prototype as object, name, descriptor);
    Object.defineProperty(type.prototype, name, descriptor);
  }
}

@Injectable()
class Work {
  calls = 0;
  constructor(readonly locks: LockService) {}

  private get held(): boolean {
    return this.locks.current('key') !== undefined;
  }

  private now(): Observable<boolean> {
    this.calls++;
    return of(0).pipe(map(() => this.held));
  }

  @ReplicaLocked('key', { waitTime: 0 })
  declared(): Declared<boolean> {
    return this.now();
  }

  @ReplicaLocked('key', { waitTime: 0 })
  typeOnly(): Observable<boolean> {
    return this.now();
  }

  @ReplicaLocked('key', { waitTime: 0 })
  inferred() {
    return this.now();
  }

  @ReplicaLocked('key', { waitTime: 0 })
  subject(): BehaviorSubject<boolean> {
    this.calls++;
    return new BehaviorSubject(this.held);
  }

  untyped(): Observable<boolean> {
    return this.now();
  }

  untypedPromise(): Promise<boolean> {
    this.calls++;
    return Promise.resolve(this.held);
  }

  untypedGate(): Promise<void> {
    this.calls++;
    return gates.of('gate').passed;
  }

  untypedFailure(): Promise<void> {
    this.calls++;
    return Promise.reject(new Error('the work failed'));
  }

  untypedValue(): boolean {
    this.calls++;
    return this.held;
  }

  untypedNothing(): void {
    this.calls++;
  }

  async *untypedSteps(): AsyncGenerator<boolean> {
    this.calls++;
    yield this.held;
  }

  untypedIterable(): AsyncIterable<boolean> {
    return this.untypedSteps();
  }

  untypedNever(): Observable<never> {
    this.calls++;
    return NEVER;
  }

  @ReplicaLocked('key', { waitTime: 0 })
  thenable(): PromiseLike<boolean> {
    return this.untypedPromise();
  }

  @ReplicaLocked('key', { waitTime: 0 })
  either(stream: boolean): Promise<boolean> | Observable<boolean> {
    return stream ? this.now() : this.untypedPromise();
  }

  @ReplicaLocked('key', { waitTime: 0 })
  async promised(): Promise<Observable<boolean>> {
    return this.now();
  }

  @ReplicaLocked('key', { waitTime: 0 })
  promises(): Declared<Promise<void>> {
    return of(gates.of('gate').passed);
  }

  @ReplicaLocked('key', { waitTime: 0 })
  steps(): Declared<void> {
    return of(1, 2).pipe(concatMap(() => gates.of('gate').passed));
  }

  @ReplicaLocked('key', { waitTime: 0 })
  async *generator(last: number): AsyncGenerator<boolean, string> {
    this.calls++;
    for (let i = 0; i < last; i++) yield this.held;
    return 'the end';
  }

  @ReplicaLocked('key', { waitTime: 0, onContended: 'skip' })
  async *skipping(): AsyncGenerator<number> {
    yield 1;
  }

  @ReplicaLocked('key', { waitTime: '1m' })
  async *waiting(): AsyncGenerator<number> {
    yield 1;
  }
}

withoutTypes(
  Work,
  'untyped',
  'untypedPromise',
  'untypedGate',
  'untypedFailure',
  'untypedValue',
  'untypedNothing',
  'untypedIterable',
  'untypedNever',
);

let module: TestingModule;
let work: Work;
let locks: LockService;
beforeEach(async () => {
  module = await Test.createTestingModule({
    imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 })],
    providers: [Work],
  }).compile();
  module.useLogger(false);
  await module.init();
  [work, locks] = [module.get(Work), module.get(LockService)];
});
afterEach(async () => {
  gates.openAll();
  await module.close();
});
/** Waits one turn of the event loop, after which a result that no caller uses has started. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

describe('An Observable of a locked method', () => {
  const kinds = ['declared', 'typeOnly', 'inferred', 'subject', 'untyped'] as const;

  it.each(kinds)('runs under the lock while it is subscribed to (%s)', async (name) => {
    const stream = work[name]();
    expect(isObservable(stream)).toBe(true);
    expect(await firstValueFrom(stream)).toBe(true);
    await free(locks, 'key');
    expect(await firstValueFrom(stream.pipe(map((held) => `${held}`)))).toBe('true');
    await free(locks, 'key');
    expect(work.calls).toBe(2);
  });

  it.each(kinds)('does not run before it is subscribed to, nor without the lock (%s)', async (name) => {
    const stream = work[name]().pipe(map((held) => held));
    await turn();
    expect(locks.held).toEqual([]);
    await locks.acquire('key');
    await expect(firstValueFrom(stream)).rejects.toMatchObject({ code: 'LOCK_CONTENDED' });
    expect(work.calls).toBe(0);
  });

  it.each(kinds)('that is subscribed to in a later turn runs under the lock (%s)', async (name) => {
    const stream = work[name]();
    await turn();
    await free(locks, 'key');
    expect(await firstValueFrom(stream)).toBe(true);
    expect(work.calls).toBe(1);
  });

  it.each(kinds)('is the value of an awaited call (%s)', async (name) => {
    const stream = await (work[name]() as unknown as Promise<Observable<boolean>>);
    expect(await firstValueFrom(stream)).toBe(true);
    await free(locks, 'key');
  });

  it('that a promise resolves with runs under the lock again', async () => {
    const stream = await work.promised();
    expect(locks.held).toEqual([]);
    expect(await firstValueFrom(stream)).toBe(true);
    await locks.acquire('key');
    await expect(firstValueFrom(stream)).rejects.toMatchObject({ code: 'LOCK_CONTENDED' });
  });

  it('that emits promises keeps the lock until they have settled', async () => {
    const subscription = work.promises().subscribe();
    await locked(locks, 'key');
    await turn();
    expect(await locks.isLocked('key')).toBe(true);
    subscription.unsubscribe();
    expect(await locks.isLocked('key')).toBe(true);
    gates.openAll();
    await free(locks, 'key');
  });

  it('releases the lock when it is unsubscribed, even during its work', async () => {
    const subscription = work.steps().subscribe();
    await locked(locks, 'key');
    subscription.unsubscribe();
    await free(locks, 'key');
  });
});

describe('The result of a locked method whose type the compiler did not emit', () => {
  it('can be used as the kind that the method returns', async () => {
    expect(await work.untypedPromise()).toBe(true);
    expect(await work.thenable()).toBe(true);
    expect(await (work.untypedValue() as unknown as Promise<boolean>)).toBe(true);
    expect(await (work.untypedNothing() as unknown as Promise<void>)).toBeUndefined();
    expect(await Promise.all([work.untypedPromise(), work.untypedPromise()]).catch(() => 'contended')).toBe(
      'contended',
    );
    let isOver = false;
    expect(await work.untypedPromise().finally(() => (isOver = true))).toBe(true);
    expect(isOver).toBe(true);
    expect(await work.untypedFailure().catch((error: Error) => error.message)).toBe('the work failed');
    expect(await work.either(false)).toBe(true);
    expect(await firstValueFrom(work.either(true) as Observable<boolean>)).toBe(true);
    expect(locks.held).toEqual([]);
  });

  it('calls the method once, whether it is awaited or subscribed to', async () => {
    const promise = work.untypedPromise();
    expect([await promise, await promise, await firstValueFrom(from(promise))]).toEqual([true, true, true]);
    expect(work.calls).toBe(1);
  });

  it('runs the method even if no caller waits', async () => {
    void work.untypedPromise();
    await until(() => work.calls === 1, { what: 'the work is done' });
  });

  it('rejects for the callers that wait, and for no other, if the lock is refused', async () => {
    const held = await locks.acquire('key');
    const unhandled: unknown[] = [];
    const onUnhandled = (error: unknown): void => void unhandled.push(error);
    process.on('unhandledRejection', onUnhandled);
    const [alone, awaited] = [work.untypedPromise(), work.untypedPromise()];
    await expect(awaited).rejects.toMatchObject({ code: 'LOCK_CONTENDED' });
    await turn();
    await held.release();
    expect(await firstValueFrom(alone as unknown as Observable<boolean>)).toBe(true);
    process.off('unhandledRejection', onUnhandled);
    expect(unhandled).toEqual([]);
  });

  it('keeps the lock until the promise has settled, also for a subscriber that has left', async () => {
    const subscription = (work.untypedGate() as unknown as Observable<void>).subscribe();
    await locked(locks, 'key');
    await until(() => work.calls === 1, { what: 'the work has begun' });
    subscription.unsubscribe();
    await turn();
    expect(await locks.isLocked('key')).toBe(true);
    gates.openAll();
    await free(locks, 'key');
  });

  it('may be iterated', async () => {
    const seen: boolean[] = [];
    for await (const held of work.untypedIterable()) seen.push(held);
    expect(seen).toEqual([true]);
    const stream = work.untypedPromise() as unknown as AsyncIterable<unknown>;
    await expect(stream[Symbol.asyncIterator]().next()).rejects.toThrow(/untypedPromise is iterated/);
    expect(locks.held).toEqual([]);
  });
});

describe('A locked async generator', () => {
  it('holds the lock from the first step to the end', async () => {
    const steps = work.generator(2);
    await turn();
    expect([locks.held, work.calls]).toEqual([[], 0]);
    expect(await steps.next()).toEqual({ done: false, value: true });
    expect(await locks.isLocked('key')).toBe(true);
    expect(await steps.next()).toEqual({ done: false, value: true });
    expect(await steps.next()).toEqual({ done: true, value: 'the end' });
    expect(locks.held).toEqual([]);
  });

  it('releases the lock when the caller leaves the loop, or after an error', async () => {
    for await (const held of work.generator(5)) {
      expect(held).toBe(true);
      break;
    }
    expect(locks.held).toEqual([]);
    const steps = work.generator(5);
    await steps.next();
    await expect(steps.throw(new Error('enough'))).rejects.toThrow('enough');
    expect(locks.held).toEqual([]);
  });

  it('stops waiting for the lock when the caller leaves the loop', async () => {
    const held = await locks.acquire('key');
    const steps = work.waiting();
    const first = steps.next();
    await turn();
    await steps.return(undefined);
    expect(await first).toEqual({ done: true, value: undefined });
    await held.release();
    expect(await locks.isLocked('key')).toBe(false);
  });

  it('rejects like any other method if the lock is contended', async () => {
    await locks.acquire('key');
    await expect(work.generator(1).next()).rejects.toMatchObject({ code: 'LOCK_CONTENDED' });
    expect(await work.skipping().next()).toEqual({ done: true, value: undefined });
  });
});

describe('The kind of a method’s result', () => {
  class Methods {
    async promise(): Promise<void> {}
    async *steps(): AsyncGenerator<number> {}
    plain(): void {}
  }
  it.each([
    ['promise', undefined, 'promise'],
    // The function itself is more reliable than a type, which may be inherited.
    ['promise', Declared, 'promise'],
    ['steps', undefined, 'iterable'],
    ['plain', Promise, 'promise'],
    ['plain', Declared, 'observable'],
    ['plain', ReplaySubject, 'observable'],
    ['plain', class Copy extends (class {} as typeof Declared<unknown>) {}, 'either'],
    ['plain', { prototype: { subscribe() {}, lift() {} } }, 'either'],
    ['plain', Object, 'either'],
    ['plain', undefined, 'either'],
  ] as const)('of %s with the emitted type %p is %s', (name, type, kind) => {
    Reflect.defineMetadata('design:returntype', type, Methods.prototype, name);
    expect(resultKindOf(Methods.prototype, name, Methods.prototype[name])).toBe(kind);
  });

  it('is recognised by the class of another copy of rxjs', () => {
    class OtherObservable {
      subscribe(): void {}
      lift(): void {}
    }
    Reflect.defineMetadata('design:returntype', OtherObservable, Methods.prototype, 'plain');
    expect(resultKindOf(Methods.prototype, 'plain', Methods.prototype.plain)).toBe('observable');
  });

  it('of a synchronous generator cannot be locked', () => {
    const decorate = ReplicaLocked('k') as MethodDecorator;
    const descriptor = {
      value: function* () {
        yield 1;
      },
    };
    expect(() => decorate(Methods.prototype, 'plain', descriptor as never)).toThrow(
      /Methods\.plain: a synchronous generator cannot wait for a lock/,
    );
  });
});
