import type { LockDefaults } from '../../lib/lock/options.js';

/** The module's defaults, for a service that is made without a module and closes at once. */
export function lockDefaults(overrides: Partial<LockDefaults> = {}): LockDefaults {
  return {
    leaseTime: 15_000,
    waitTime: 10_000,
    renew: true,
    maxHoldTime: undefined,
    replicas: 'all',
    replicaTimeout: 1_000,
    shutdownTimeout: 0,
    quarantine: 15_000,
    ...overrides,
  };
}
