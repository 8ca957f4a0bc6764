import type { Clock } from '../../../common/clock.js';
import type { AcquireOutcome, Unavailable } from '../../lock-store.js';
import type { Session } from '../connection/session.js';
import type { LongLeases } from '../replication/long-leases.js';
import type { ReplicaView, Verdict } from '../replication/replica-view.js';
import type { CommitRequest } from './commit-request.js';
import { longLease, noAnswer, quarantined } from './messages.js';

/** The session to the master and the view of its replicas, or why there is none. */
export type SessionState =
  | { readonly kind: 'closed' | 'detached'; readonly why: Unavailable }
  | { readonly kind: 'attached'; readonly session: Session; readonly view: ReplicaView };

/**
 * Says whether the replicas have confirmed a request, and why a request without confirmation fails.
 */
export class Verdicts {
  constructor(
    private readonly longLeases: LongLeases,
    private readonly clock: Clock,
  ) {}

  /** `offset`: the master's replication offset right after the request's script. */
  judge(view: ReplicaView, { kind, names, demand, group }: CommitRequest, offset: number): Verdict {
    const standingSince = kind === 'renew' ? Infinity : this.longLeases.metAt(names, this.clock.monotonic());
    return view.judge(demand, offset, group?.start.monotonic ?? 0, standingSince);
  }

  /** The fewest replicas that can decide one of these requests; Infinity without requests. */
  leastRequired(view: ReplicaView, ...sets: readonly Iterable<CommitRequest>[]): number {
    let least = Infinity;
    for (const requests of sets)
      for (const { demand } of requests) least = Math.min(least, view.required(demand));
    return least;
  }

  /** Why the request fails if its time is up now. */
  whyNot(
    state: SessionState,
    request: CommitRequest,
  ): Extract<AcquireOutcome, { kind: 'unavailable' | 'unconfirmed' }> {
    if (state.kind !== 'attached') return state.why;
    const { session, view } = state;
    const left = view.quarantineLeft(this.clock.monotonic());
    const offset = request.group?.offset;
    if (request.kind === 'acquire' && left > 0) return quarantined(left);
    if (request.stage !== 'written' || offset === undefined) {
      return (request.kind === 'renew' ? request.refused : undefined) ?? noAnswer(session);
    }
    const verdict = this.judge(view, request, offset);
    if (verdict.kind === 'young') return longLease(request.names);
    const required = view.required(request.demand);
    return {
      kind: 'unconfirmed',
      confirmed: verdict.kind === 'lacking' ? verdict.confirmed : verdict.by,
      required,
      replicas: view.report(offset),
    };
  }
}
