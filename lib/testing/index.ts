export { ReplicaLockTestingModule, getTestLocksToken } from './replica-lock-testing.module.js';
export type { Clock } from '../common/clock.js';
export type { TestClock } from './test-clock.js';
export { TestLocks, type TestLocksOptions } from './test-locks.js';
