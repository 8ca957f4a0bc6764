import { distinctKeys } from './distinct-keys.js';
import type { Workload } from './workload.js';

export const workloads: readonly Workload[] = [distinctKeys];
