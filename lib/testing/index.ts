export { ReplicaLockTestingModule, getTestLocksToken } from './replica-lock-testing.module.js';
export type { TestClock } from './test-clock.js';
export { TestLocks, type TestLocksOptions } from './test-locks.js';
