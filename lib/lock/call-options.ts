import { LEADING } from './election-options.js';
import type { Lock } from './lock.js';
import { demandOptions } from './option-kinds.js';
import {
  resolveOptions,
  withoutOptions,
  type LockDefaults,
  type ResolvedOptions,
  type WithLockOptions,
} from './options.js';

/** The options of the calls of one service, checked and completed by the module's defaults. */
export class CallOptions {
  private readonly base: ResolvedOptions;
  /** Options that cannot change, such as those of a decorator, are checked once. */
  private readonly frozen = new WeakMap<WithLockOptions, ResolvedOptions>();

  constructor(defaults: LockDefaults) {
    this.base = withoutOptions(defaults);
  }

  /** Throws `LockOptionsError`. */
  resolve(options: WithLockOptions | undefined): ResolvedOptions {
    if (options === undefined) return this.base;
    const known = this.frozen.get(options);
    if (known !== undefined) return known;
    const resolved = resolveOptions(options, this.base);
    if (Object.isFrozen(options)) this.frozen.set(options, resolved);
    return resolved;
  }

  /** As `resolve`, for a call that does not wait unless the options say so. */
  resolveAtOnce(options: WithLockOptions | undefined): ResolvedOptions {
    if (options !== undefined) demandOptions(options);
    return this.resolve({ waitTime: 0, ...options });
  }

  /** As `resolve`, for a leader, who renews and leads for as long as possible. */
  leading(options: WithLockOptions): ResolvedOptions {
    return { ...this.resolve(options), ...LEADING };
  }
}

type Work<T> = (lock: Lock) => T | Promise<T>;

/** The arguments of `withLock` behind the key: options, or none, and the work. */
export function optionsAndWork<T>(
  optionsOrWork: WithLockOptions | Work<T>,
  maybeWork: Work<T> | undefined,
): [WithLockOptions | undefined, Work<T>] {
  const [options, work] =
    typeof optionsOrWork === 'function' ? [undefined, optionsOrWork] : [optionsOrWork, maybeWork];
  if (typeof work !== 'function')
    throw new TypeError('withLock needs the work to do under the lock: a function');
  if (work === optionsOrWork && maybeWork !== undefined)
    throw new TypeError('withLock takes its options before the work');
  return [options, work];
}
