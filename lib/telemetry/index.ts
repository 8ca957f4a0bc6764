export {
  ReplicaLockTelemetryModule,
  type ReplicaLockTelemetryOptions,
} from './replica-lock-telemetry.module.js';
