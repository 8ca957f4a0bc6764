import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import {
  applyDecorators,
  Controller,
  type ExecutionContext,
  type MessageEvent,
  Post,
  SetMetadata,
  Sse,
} from '@nestjs/common';
import { type Observable, Subject } from 'rxjs';
import ts from 'typescript';
import { type KeySource, ReplicaLocked, type ReplicaLockedOptions } from '../../lib/index.js';
import { LOCKED_METHOD } from '../../lib/decorators/locked-method.js';

/* Decorators of an application's own, in the usual forms. */

const LockedPost = (path: string, key: string): MethodDecorator =>
  applyDecorators(Post(path), ReplicaLocked(key)) as MethodDecorator;
const Job = (key: string, options: ReplicaLockedOptions = {}): MethodDecorator =>
  ReplicaLocked(key, { waitTime: 0, onContended: 'skip', ...options });
const Both =
  (key: string): MethodDecorator =>
  (target, property, descriptor) => {
    ReplicaLocked(key)(target, property, descriptor);
  };
const Untyped = () => (target: object, property: string, descriptor: PropertyDescriptor) =>
  ReplicaLocked('key')(target, property, descriptor);
const ByFunction = (): MethodDecorator =>
  applyDecorators(
    ReplicaLocked((context: ExecutionContext) => context.getClass().name),
    SetMetadata('kind', 'own'),
  );
const Generic = <A extends unknown[]>(key: KeySource<A>): MethodDecorator => ReplicaLocked(key);

interface Order {
  id: string;
}

const name: unique symbol = Symbol('name');

@Controller()
class Accepted {
  @LockedPost(':id/pay', 'order:{params.id}')
  async pay(): Promise<void> {}

  @Job('nightly')
  async job(): Promise<void> {}

  @Both('key')
  async both(): Promise<void> {}

  @Untyped()
  async untyped(): Promise<void> {}

  @ByFunction()
  async byFunction(): Promise<void> {}

  @Generic((order: Order) => order.id)
  async byGeneric(_order: Order): Promise<void> {}

  @ReplicaLocked('key')
  async generic<T>(x: T): Promise<T> {
    return x;
  }

  @ReplicaLocked('key')
  thenable(): PromiseLike<number> {
    return Promise.resolve(1);
  }

  @ReplicaLocked('key')
  subject(): Subject<number> {
    return new Subject();
  }

  @ReplicaLocked('key')
  either(): Promise<number> | Observable<number> {
    return Promise.resolve(1);
  }

  @ReplicaLocked('key')
  // oxlint-disable-next-line typescript/no-explicit-any -- the subject of the test
  loose(): any {}

  @ReplicaLocked('key')
  nothing(): void {}

  @ReplicaLocked('key')
  async *steps(): AsyncGenerator<number> {}

  @ReplicaLocked('key')
  async *iterated(): AsyncIterable<number> {}

  @ReplicaLocked((id: string) => `id:${id}`)
  async optional(_id?: string): Promise<void> {}

  @ReplicaLocked((...ids: string[]) => ids)
  async rest(..._ids: string[]): Promise<void> {}

  @ReplicaLocked(({ id }: { id: string }) => id)
  async subtype(_order: Order & { more: number }): Promise<void> {}

  @ReplicaLocked((order: Order) => order.id)
  async fewer(_order: Order, _more: number): Promise<void> {}

  @ReplicaLocked(() => 'key')
  async noArgument(_order: Order): Promise<void> {}

  @ReplicaLocked((order: unknown) => String(order))
  async unknownArgument(_order: Order): Promise<void> {}

  // oxlint-disable-next-line typescript/no-explicit-any -- the subject of the test
  @ReplicaLocked((order: any) => String(order))
  async anyArgument(_order: Order): Promise<void> {}

  over(a: string): Promise<string>;
  over(a: number): Promise<number>;
  @ReplicaLocked('over:{0}')
  async over(a: string | number): Promise<string | number> {
    return a;
  }

  @Sse('events')
  @ReplicaLocked('key')
  async events(): Promise<Observable<MessageEvent>> {
    return new Subject();
  }

  @ReplicaLocked('key')
  protected async own(): Promise<void> {}

  @ReplicaLocked('key')
  async [name](): Promise<void> {}
}

describe('A decorator of an application’s own that is made of @ReplicaLocked', () => {
  it.each(['pay', 'job', 'both', 'untyped', 'byFunction', 'byGeneric'] as const)(
    'locks its method (%s)',
    (property) => {
      expect(Reflect.hasMetadata(LOCKED_METHOD, Accepted.prototype[property])).toBe(true);
    },
  );
});

const refused = `
import { Readable } from 'node:stream';
import type { ExecutionContext } from '@nestjs/common';
import { type LockService, ReplicaLocked, ReplicaLockModule } from '../../lib/index.js';
interface Order { id: string }
class Refused {
  @ReplicaLocked('k') synchronous(): number { return 1; }
  @ReplicaLocked('k') maybe(): Promise<number> | number { return 1; }
  @ReplicaLocked('k') stream(): Readable { return new Readable(); }
  @ReplicaLocked('k') property = 1;
  @ReplicaLocked('k') get accessor(): number { return 1; }
  @ReplicaLocked((order: Order) => order.id) async other(_id: number): Promise<void> {}
  @ReplicaLocked((_: ExecutionContext, order: Order) => order.id) async two(_id: number): Promise<void> {}
  @ReplicaLocked((order) => \`order:\${order}\`) async unannotated(_order: Order): Promise<void> {}
  @ReplicaLocked((order) => order.id) async reading(_order: Order): Promise<void> {}
  @ReplicaLocked((order: Order) => order.ident) async misspelt(_order: Order): Promise<void> {}
  @ReplicaLocked('k', { leaseTime: '30 sek' }) async duration(): Promise<void> {}
}
ReplicaLockModule.forRoot({ connection: 'memory:', waitTime: '30 sek' });
export const lock = (locks: LockService): unknown => locks.acquire('k', { leaseTime: '30 sek' });
ReplicaLockModule.forRoot({ connection: 'memory:', waitTime: '30 s', leaseTime: '1.5 hours', quarantine: '2h' });
`;

describe('The compiler', () => {
  it('refuses a method that cannot be locked, and says why', () => {
    const path = join(process.cwd(), 'test/decorators/refused.ts');
    const { config } = ts.readConfigFile(join(process.cwd(), 'tsconfig.test.json'), (file) =>
      ts.sys.readFile(file),
    ) as { config: object };
    const { options } = ts.parseJsonConfigFileContent(config, ts.sys, process.cwd());
    const host = ts.createCompilerHost(options);
    const { fileExists, getSourceFile } = host;
    host.fileExists = (file) => file === path || fileExists.call(host, file);
    host.getSourceFile = (file, language, ...rest) =>
      file === path
        ? ts.createSourceFile(path, refused, language, true)
        : getSourceFile.call(host, file, language, ...rest);
    const program = ts.createProgram([path], options, host);
    const errors = new Map<number, string>();
    for (const { start, messageText } of program.getSemanticDiagnostics(program.getSourceFile(path))) {
      const line = refused.slice(0, start).split('\n').length - 1;
      errors.set(line, `${errors.get(line) ?? ''}${ts.flattenDiagnosticMessageText(messageText, '\n')}\n`);
    }
    const says = (line: number): string => errors.get(line) ?? 'nothing';
    const notAsynchronous = /'a locked method must return a Promise, an Observable or an AsyncIterable, not'/;
    for (const line of [6, 7, 8]) expect(says(line)).toMatch(notAsynchronous);
    expect(says(9)).toMatch(/property decorator/);
    expect(says(10)).toMatch(/'only methods can be locked, not'/);
    for (const line of [11, 12])
      expect(says(line)).toMatch(/"the key function does not take this method's arguments"/);
    const unannotated = /'annotate the parameters of the key function, for example \(order: Order\) =>'/;
    for (const line of [13, 14]) expect(says(line)).toMatch(unannotated);
    expect(says(14)).toMatch(/Property 'id' does not exist on type 'UnannotatedArgument'/);
    expect(says(15)).toBe("Property 'ident' does not exist on type 'Order'.\n");
    // Durations: in a decorator, the module's options and a call.
    for (const line of [16, 18, 19]) expect(says(line)).toMatch(/Type '"30 sek"' is not assignable to type/);
    expect(errors.size).toBe(13);
  }, 60_000);
});
