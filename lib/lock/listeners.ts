import { merge, Subject, type Observable } from 'rxjs';
import type { StoreReport } from '../store/lock-store.js';
import {
  listenerFailed,
  reportOf,
  type AcquisitionEnd,
  type AcquisitionObserver,
  type LockEvent,
} from './events.js';
import { GuardedObservable } from './guarded-observable.js';

/** The listeners of one service: subscribers of events and reports, and the observer. */
export class Listeners {
  readonly events: Observable<LockEvent>;
  readonly reports: Observable<StoreReport>;
  /** Locks that were lost so far. */
  lostCount = 0;
  private readonly emitted = new Subject<LockEvent>();
  private readonly reported = new Subject<StoreReport>();
  private observer: AcquisitionObserver | undefined;
  private hasObserverFailed = false;

  constructor(storeReports: Observable<StoreReport>) {
    this.events = this.guarded('events', this.emitted);
    this.reports = this.guarded('reports', merge(storeReports, this.reported));
  }

  /** True if events have a subscriber. */
  get isHeard(): boolean {
    return this.emitted.observed;
  }

  emit(event: LockEvent): void {
    if (event.type === 'lost') this.lostCount++;
    const report = reportOf(event);
    if (report !== undefined) this.reported.next(report);
    this.emitted.next(event);
  }

  report(report: StoreReport): void {
    this.reported.next(report);
  }

  observe(observer: AcquisitionObserver): void {
    if (this.observer !== undefined)
      throw new Error('The acquisitions of this LockService are observed already.');
    this.observer = observer;
  }

  /**
   * Tells the observer that a caller asks. Returns the function that reports the end of the
   * acquisition; undefined without an observer.
   */
  asked(keys: readonly string[], label: string | undefined): ((end: AcquisitionEnd) => void) | undefined {
    const { observer } = this;
    if (observer === undefined) return undefined;
    const onEnd = this.run(() => observer.onAsked(keys, label));
    return onEnd && ((end) => this.run(() => onEnd(end)));
  }

  complete(): void {
    this.emitted.complete();
    this.reported.complete();
  }

  /** Calls the observer. What the observer throws is reported, once. */
  private run<T>(call: () => T): T | undefined {
    try {
      return call();
    } catch (error) {
      if (!this.hasObserverFailed)
        this.reported.next(
          listenerFailed('The observer of acquisitions', error, 'the observer is called again.'),
        );
      this.hasObserverFailed = true;
      return undefined;
    }
  }

  private guarded<T>(name: string, source: Observable<T>): Observable<T> {
    return new GuardedObservable<T>(source, (error, hasEnded) => {
      const end = hasEnded ? 'its subscription has ended.' : 'the subscriber receives what follows.';
      this.reported.next(listenerFailed(`A subscriber of LockService.${name}`, error, end));
    });
  }
}
