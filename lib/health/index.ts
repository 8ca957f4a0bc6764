export {
  ReplicaLockHealthIndicator,
  type MasterDetails,
  type ReplicaLockHealthDetails,
  type ReplicaLockHealthOptions,
} from './replica-lock.health-indicator.js';
export type { ReplicaCounts } from '../store/replica-counts.js';
