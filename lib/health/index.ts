export {
  ReplicaLockHealthIndicator,
  type MasterDetails,
  type ReplicaLockHealthDetails,
  type ReplicaLockHealthOptions,
} from './replica-lock.health-indicator.js';
export type { MemberCounts } from '../store/member-counts.js';
