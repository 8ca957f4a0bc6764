import { backPressure } from './back-pressure.js';
import { cluster } from './cluster.js';
import { decorator } from './decorator.js';
import { distinctKeys } from './distinct-keys.js';
import { election } from './election.js';
import { handOver } from './hand-over.js';
import { heldLocks } from './held-locks.js';
import { idleWaiters } from './idle-waiters.js';
import { limit } from './limit.js';
import { memory } from './memory.js';
import { microseconds } from './microseconds.js';
import { releaseBurst } from './release-burst.js';
import { runOnce } from './run-once.js';
import { scriptCost } from './script-cost.js';
import { steadyState } from './steady-state.js';
import { stoppedReplica } from './stopped-replica.js';
import { toldOfLoss } from './told-of-loss.js';
import type { Workload } from './workload.js';

export const workloads: readonly Workload[] = [
  distinctKeys,
  steadyState,
  handOver,
  toldOfLoss,
  election,
  idleWaiters,
  heldLocks,
  releaseBurst,
  stoppedReplica,
  backPressure,
  scriptCost,
  limit,
  runOnce,
  microseconds,
  cluster,
  decorator,
  memory,
];
