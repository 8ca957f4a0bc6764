import type { Attributes, Meter } from '@opentelemetry/api';
import type { AcquisitionEnd, LockEvent } from '../lock/events.js';
import { END, INSTANCE, LOCK_NAME, OUTCOME, outcomeOf } from './attributes.js';
import type { LockNames } from './lock-names.js';

/** Bounds of the histograms in seconds: from one confirmation on a local network to a long wait. */
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Counts and times what happens to locks, by the locks' names. */
export class LockMetrics {
  private readonly acquireDuration;
  private readonly waitDuration;
  private readonly confirmDuration;
  private readonly holdDuration;
  private readonly waiting;
  private readonly held;
  private readonly lost;
  private readonly unconfirmed;
  private readonly terms;
  private readonly once;
  private readonly counted = new Set<string>();

  constructor(
    meter: Meter,
    private readonly instance: string,
    private readonly names: LockNames,
  ) {
    const duration = (name: string, description: string) =>
      meter.createHistogram(`replica_lock.${name}.duration`, {
        description,
        unit: 's',
        advice: { explicitBucketBoundaries: BUCKETS },
      });
    this.acquireDuration = duration('acquire', 'Time from the request for a lock to its outcome');
    this.waitDuration = duration(
      'wait',
      'The part of acquiring that was spent waiting for other holders and waiters',
    );
    this.confirmDuration = duration(
      'confirm',
      'Time from the granted attempt to its confirmation by the replicas',
    );
    this.holdDuration = duration('hold', 'Time from the request for a lock to its release or loss');
    this.waiting = meter.createUpDownCounter('replica_lock.waiting', {
      description: 'Callers that have asked for a lock and wait for the outcome',
      unit: '{caller}',
    });
    this.held = meter.createUpDownCounter('replica_lock.held', {
      description: 'Locks that this process holds',
      unit: '{lock}',
    });
    this.lost = meter.createCounter('replica_lock.lost', {
      description: 'Locks that were lost before their release',
      unit: '{lock}',
    });
    this.unconfirmed = meter.createCounter('replica_lock.unconfirmed', {
      description: 'Attempts that were taken back because too few replicas confirmed',
      unit: '{attempt}',
    });
    this.terms = meter.createCounter('replica_lock.terms', {
      description: 'Terms that this process began as the leader of an election',
      unit: '{term}',
    });
    this.once = meter.createCounter('replica_lock.once', {
      description: 'Calls of work that runs once: it ran, or its kept result was returned',
      unit: '{call}',
    });
  }

  onAsked(name: string): (end: AcquisitionEnd) => void {
    const attributes = this.attributesOf(name);
    this.countFromZero(name, attributes);
    const askedAt = performance.now();
    this.waiting.add(1, attributes);
    return (end) => {
      this.waiting.add(-1, attributes);
      const passed = (performance.now() - askedAt) / 1000;
      this.acquireDuration.record(passed, { ...attributes, [OUTCOME]: outcomeOf(end) });
    };
  }

  onEvent(event: LockEvent): void {
    const attributes = this.attributesOf(this.names.nameOf(event.keys, event.label));
    switch (event.type) {
      case 'acquired':
        this.held.add(1, attributes);
        this.waitDuration.record(Math.max(0, event.waited - event.confirmedIn) / 1000, attributes);
        this.confirmDuration.record(event.confirmedIn / 1000, attributes);
        break;
      case 'unconfirmed':
        this.unconfirmed.add(1, attributes);
        break;
      case 'lost':
        this.lost.add(1, attributes);
        this.onEnded(event, attributes);
        break;
      case 'released':
        this.onEnded(event, attributes);
        break;
      case 'elected':
        this.terms.add(1, attributes);
        break;
      case 'ran':
      case 'kept':
        this.once.add(1, { ...attributes, [OUTCOME]: event.type });
        break;
      case 'contended':
      case 'renewed':
      case 'deposed':
      case 'resigned':
        break;
    }
  }

  /**
   * Creates the series with the value 0. For Prometheus a counter that is first seen at 1 has not
   * increased: the first loss would go unnoticed.
   */
  private countFromZero(name: string, attributes: Attributes): void {
    if (this.counted.has(name)) return;
    this.counted.add(name);
    this.lost.add(0, attributes);
    this.unconfirmed.add(0, attributes);
  }

  private onEnded({ type, held }: LockEvent & { held: number }, attributes: Attributes): void {
    this.held.add(-1, attributes);
    this.holdDuration.record(held / 1000, { ...attributes, [END]: type });
  }

  private attributesOf(name: string): Attributes {
    return { [LOCK_NAME]: name, [INSTANCE]: this.instance };
  }
}
