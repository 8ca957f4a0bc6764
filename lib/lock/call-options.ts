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
}
