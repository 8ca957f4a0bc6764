import type { Meter, Tracer } from '@opentelemetry/api';
import type { LockService } from '../lock/lock-service.js';
import { observeElections } from './election-metrics.js';
import { LockMetrics } from './lock-metrics.js';
import { LockNames } from './lock-names.js';
import { LockSpans } from './lock-spans.js';
import { observeStore } from './store-metrics.js';

/** Measures and traces one `LockService` until it is closed. */
export function observeLocks(service: LockService, instance: string, meter: Meter, tracer: Tracer): void {
  const names = new LockNames();
  const metrics = new LockMetrics(meter, instance, names);
  const spans = new LockSpans(tracer, instance);
  service.observe({
    onAsked(keys, label) {
      const name = names.nameOf(keys, label);
      const measured = metrics.onAsked(name);
      const traced = spans.onAsked(name);
      return (end) => {
        measured(end);
        traced(end);
      };
    },
  });
  const stops = [observeStore, observeElections].map((begin) => begin(meter, instance, service));
  service.events.subscribe({
    next: (event) => {
      metrics.onEvent(event);
      spans.onEvent(event);
    },
    complete: () => stops.forEach((stop) => stop()),
  });
}
