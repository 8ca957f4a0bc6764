import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Channel } from './channel.js';

/** The function of a workload's module that runs in a process of its own. */
export type PartFunction<P> = (params: P, parent: Channel) => Promise<unknown>;

/** A process that runs a workload's `part`, so that no subject can slow the next. */
export class Part {
  private constructor(
    readonly channel: Channel,
    /** Disconnects and waits for the end of the process. */
    readonly end: () => Promise<void>,
  ) {}

  /** `module`: the workload's `import.meta.url`. */
  static start(module: string, params: unknown, execArgv: readonly string[] = []): Part {
    const child = fork(
      fileURLToPath(new URL('part-main.js', import.meta.url)),
      [module, JSON.stringify(params)],
      { execArgv: [...execArgv] },
    );
    const exited = once(child, 'exit');
    return new Part(new Channel(child), async () => {
      if (child.connected) child.disconnect();
      await exited;
    });
  }

  /** Runs a part to its end. Resolves to the part's result. */
  static async run<T>(module: string, params: unknown, execArgv?: readonly string[]): Promise<T> {
    const part = Part.start(module, params, execArgv);
    try {
      const { result, failure } = await part.channel.next<{ result: T; failure?: string }>();
      if (failure !== undefined) throw new Error(failure);
      return result;
    } finally {
      await part.end();
    }
  }
}
