import type { Meter } from '@opentelemetry/api';
import type { LockService } from '../lock/lock-service.js';
import { INSTANCE, LOCK_NAME } from './attributes.js';

/**
 * Reports whether this process leads, from `health()` at each collection: 0 too, so that the sum
 * over all copies shows an election without a leader. Returns a function that ends the reports.
 */
export function observeElections(meter: Meter, instance: string, service: LockService): () => void {
  const leader = meter.createObservableGauge('replica_lock.leader', {
    description: '1 if this process leads the election, 0 if not',
  });
  // OpenTelemetry goes on reporting the last value of a series: after a resignation the value is 0.
  const labels = new Set<string>();
  const observe: Parameters<typeof leader.addCallback>[0] = (result) => {
    const leading = new Set<string>();
    for (const { label, isLeader } of service.health().elections) {
      labels.add(label);
      if (isLeader) leading.add(label);
    }
    for (const label of labels)
      result.observe(leading.has(label) ? 1 : 0, { [LOCK_NAME]: label, [INSTANCE]: instance });
  };
  leader.addCallback(observe);
  return () => leader.removeCallback(observe);
}
