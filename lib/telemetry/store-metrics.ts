import type { Meter } from '@opentelemetry/api';
import type { LockService } from '../lock/lock-service.js';
import { countReplicas } from '../store/replica-counts.js';
import { addressAttributes, INSTANCE, REPLICA_STATE } from './attributes.js';

/**
 * Reports the masters and their replicas, from `health()` at each collection: nothing is sent to
 * Redis. Returns a function that ends the reports.
 */
export function observeStore(meter: Meter, instance: string, service: LockService): () => void {
  const replicas = meter.createObservableGauge('replica_lock.replicas', {
    description: 'Replicas of a master: known, connected, and confirming (those that answer)',
    unit: '{replica}',
  });
  const lag = meter.createObservableGauge('replica_lock.replication.lag', {
    description: 'How far the slowest connected replica is behind its master',
    unit: 'By',
  });
  const quarantine = meter.createObservableGauge('replica_lock.quarantine', {
    description: 'Rest of a quarantine, 0 if there is none',
    unit: 's',
  });
  const connected = meter.createObservableGauge('replica_lock.connected', {
    description: '1 if the master is connected, 0 if not',
  });
  const groups = meter.createObservableCounter('replica_lock.commit.groups', {
    description: 'Groups of requests that were confirmed with one WAIT',
    unit: '{group}',
  });
  const requests = meter.createObservableCounter('replica_lock.commit.requests', {
    description: 'Acquisitions and renewals in these groups',
    unit: '{request}',
  });
  const observables = [replicas, lag, quarantine, connected, groups, requests];
  const observe: Parameters<Meter['addBatchObservableCallback']>[0] = (result) => {
    for (const master of service.health().masters) {
      const attributes = { [INSTANCE]: instance, ...addressAttributes(master.address) };
      const { lag: slowest, ...counts } = countReplicas(master.replicas);
      for (const [state, count] of Object.entries(counts))
        result.observe(replicas, count, { ...attributes, [REPLICA_STATE]: state });
      result.observe(lag, slowest, attributes);
      result.observe(quarantine, master.quarantine / 1000, attributes);
      result.observe(connected, master.connected ? 1 : 0, attributes);
      result.observe(groups, master.commits.groups, attributes);
      result.observe(requests, master.commits.requests, attributes);
    }
  };
  meter.addBatchObservableCallback(observe, observables);
  return () => meter.removeBatchObservableCallback(observe, observables);
}
