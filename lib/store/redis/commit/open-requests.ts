import type { Clock } from '../../../common/clock.js';
import { IntrusiveSet } from '../../../common/intrusive-set.js';
import type { AcquireOutcome, Unavailable, Unconfirmed } from '../../lock-store.js';
import { Validity } from '../../validity.js';
import { mayBlameOne, meaningOf, refusedBy } from '../connection/error-replies.js';
import { redirectionOf } from '../connection/redirection.js';
import type { Session } from '../connection/session.js';
import type { LongLeases } from '../replication/long-leases.js';
import type { ReplicaView } from '../replication/replica-view.js';
import type { ErrorReply } from '../resp.js';
import { MUTEX, MUTEX_OF_SHARED_KEY } from '../scripts/lock-scripts.js';
import { checkOwners } from './check-owners.js';
import type { CommitGroup, ScriptAnswer } from './commit-group.js';
import { CommitQueue } from './commit-queue.js';
import {
  PROMPT_TIME,
  ROUTE_AGAIN,
  type AcquireCommit,
  type CommitRequest,
  type LateLock,
  type RenewCommit,
  type RouteAgain,
} from './commit-request.js';
import { SLOT_LEFT } from './messages.js';
import type { ReleaseOutbox } from './release-outbox.js';
import { RequestDeadlines, VERDICT_TIME } from './request-deadlines.js';
import type { SlotOwnership } from './slot-ownership.js';
import { Verdicts, type SessionState } from './verdicts.js';

/** ms after which a renewal that the server refused is sent again. */
const RENEW_RETRY_TIME = 100;

/** The group commit, as the open requests need to know it. */
export interface OpenRequestsHost {
  sessionState(): SessionState;
  /** The queue or the pending requests have changed: a group may be due. */
  pump(): void;
  /** Ends the WAIT that blocks. True if a verdict is on its way because of that. */
  endWait(): boolean;
}

/**
 * All requests of one master that have not ended: their stages, deadlines, verdicts and outcomes.
 *
 * A request ends exactly once. The stages are drawn at `Stage`; no other class changes them.
 */
export class OpenRequests {
  readonly queue = new CommitQueue();
  private readonly open = new IntrusiveSet<'openIndex', CommitRequest>('openIndex');
  /** The open requests that are written and wait for their confirmation. */
  private readonly pending = new IntrusiveSet<'pendingIndex', CommitRequest>('pendingIndex');
  private readonly verdicts: Verdicts;
  private arrivals = 0;
  private readonly deadlines: RequestDeadlines;

  constructor(
    private readonly outbox: ReleaseOutbox,
    private readonly longLeases: LongLeases,
    private readonly clock: Clock,
    private readonly host: OpenRequestsHost,
    private readonly ownership?: SlotOwnership,
  ) {
    this.verdicts = new Verdicts(longLeases, clock);
    this.deadlines = new RequestDeadlines(clock, (now) => this.onDeadlines(now));
  }

  get isEmpty(): boolean {
    return this.open.size === 0;
  }

  get hasPending(): boolean {
    return this.pending.size > 0;
  }

  add(request: CommitRequest): void {
    request.order = ++this.arrivals;
    this.open.add(request);
    if (this.endIfSlotMoved(request)) return;
    this.queue.add(request);
    this.deadlines.added(request);
    this.host.pump();
  }

  /** What the renewal lacks now; undefined once it is answered. */
  whyNot(request: RenewCommit): Unconfirmed | Unavailable | undefined {
    return request.stage === 'ended' ? undefined : this.verdicts.whyNot(this.host.sessionState(), request);
  }

  /** The caller has given up: no key may be left behind. */
  abandon(request: AcquireCommit): void {
    if (request.stage === 'ended') {
      // The grant has not reached the caller.
      if (request.granted) {
        request.granted = false;
        request.mayBeWritten = true;
        this.releaseWritten(request);
      }
      return;
    }
    request.abandoned = true;
    // A script without an answer may still run. The take-back follows that answer, or comes from
    // the next session, which kills the old connection first.
    if (request.stage !== 'sent') this.takeBack(request);
  }

  /** Refuses the new locks that wait to be sent, and for which `whyInVain` names a reason. */
  refuseNewLocks(whyInVain: (request: AcquireCommit) => AcquireOutcome | undefined): void {
    for (const request of this.open) {
      if (request.kind !== 'acquire' || request.stage !== 'queued') continue;
      const why = whyInVain(request);
      if (why !== undefined) this.refuse(request, why);
    }
    this.queue.forgetEnded();
  }

  /** Ends the queued requests whose slot belongs to another master now. */
  onSlotsMoved(): void {
    for (const request of this.open) if (request.stage === 'queued') this.endIfSlotMoved(request);
  }

  /** Whether the server ran the sent requests is unknown. They are sent again before all others. */
  onNoSession(why: Unavailable): void {
    const unknown: CommitRequest[] = [];
    for (const request of this.open) {
      if (request.stage === 'queued') {
        if (why.permanent === true && !request.mayBeWritten && request.kind === 'acquire')
          this.end(request, why);
        continue;
      }
      request.mayBeWritten = true;
      if (request.kind === 'acquire' && request.abandoned) this.takeBack(request);
      else if (this.prepareToSendAgain(request)) unknown.push(request);
    }
    this.queue.addFirst(unknown.toSorted((a, b) => a.order - b.order));
  }

  /**
   * Answers every request. A request that was sent stays open until its script's answer allows to
   * take it back.
   */
  close(why: Unavailable): void {
    for (const request of this.open) {
      if (request.kind === 'renew') this.end(request, { kind: 'expired', why });
      else {
        request.settle(why);
        this.abandon(request);
      }
    }
  }

  /** Forgets every request. */
  dispose(): void {
    this.deadlines.stop();
    this.open.clear();
    this.pending.clear();
    this.queue.clear();
  }

  // --- groups

  /**
   * Returns the renewals, and the new locks that may be granted in their slot now. The other new
   * locks are routed again. `Routing` has asked for this trust before, but a slot may have begun to
   * move while its requests waited in the queue.
   */
  grantableNow(requests: CommitRequest[]): CommitRequest[] {
    const { ownership } = this;
    if (ownership === undefined) return requests;
    return requests.filter((request) => {
      if (request.kind === 'renew' || ownership.mayGrant(request.slot)) return true;
      this.routeAgain(request);
      return false;
    });
  }

  onSent(group: CommitGroup): void {
    for (const request of group.requests) {
      request.stage = 'sent';
      request.group = group;
    }
  }

  /** The fewest replicas that can decide one of these requests, or one that is pending. */
  leastRequired(requests: readonly CommitRequest[], view: ReplicaView): number {
    return this.verdicts.leastRequired(view, requests, this.pending);
  }

  onAnswer(session: Session, request: CommitRequest, answer: ScriptAnswer): void {
    if (request.stage !== 'sent') return;
    if (answer.kind === 'refused' || answer.kind === 'refused-together')
      this.onRefused(session, request, answer.error, answer.kind === 'refused-together');
    else if (answer.kind === 'written') {
      request.stage = 'written';
      request.mayBeWritten = true;
      this.pending.add(request);
      if ('token' in answer) request.token = answer.token;
      if (request.kind === 'renew') request.refused = undefined;
      else if (request.abandoned) this.takeBack(request);
    } else {
      const key = request.names[answer.index] ?? '';
      if (request.kind === 'renew') this.end(request, { kind: 'gone', key });
      else if (answer.kind === 'busy') {
        const { holder, shared, longest } = answer;
        this.longLeases.met(key, holder, this.clock.monotonic(), longest);
        this.refuse(request, { kind: 'busy', key, holder, shared });
      } else if (answer.kind === 'foreign') {
        const mayBeShared = !answer.isString && request.scripts === MUTEX && !request.abandoned;
        if (!mayBeShared) this.refuse(request, { kind: 'foreign', key, found: answer.found });
        else {
          request.scripts = MUTEX_OF_SHARED_KEY;
          this.requeue(request);
        }
      }
    }
  }

  /** `together`: the error is for a batch of several requests, any of which may be the reason. */
  private onRefused(session: Session, request: CommitRequest, error: ErrorReply, together: boolean): void {
    const meaning = meaningOf(error);
    const redirection = this.ownership && redirectionOf(error);
    if (redirection !== undefined) {
      this.ownership?.onRedirection(redirection);
      request.isAlone = true;
    }
    if (!meaning.unwritten && error.code !== 'NOSCRIPT') request.mayBeWritten = true;
    if (request.kind === 'acquire' && request.abandoned) this.takeBack(request);
    else if (redirection?.kind === 'moved') this.routeAgain(request);
    else if (error.code === 'NOSCRIPT') this.requeue(request);
    else if (together && mayBlameOne(error)) {
      // Happens once: a request that is refused alone is refused for its own sake.
      request.isAlone = true;
      this.requeue(request);
    } else if (request.kind === 'renew') {
      // The server may accept the renewal before the lock's validity ends.
      request.stage = 'queued';
      request.refused = refusedBy(session.address, error);
      this.clock.after(RENEW_RETRY_TIME, () => {
        if (request.stage === 'queued') this.requeue(request);
        this.host.pump();
      });
    } else this.refuse(request, refusedBy(session.address, error));
    if (meaning.reconnect === true) session.end(new Error(error.message));
  }

  /** Sends the pending requests again, by the same owners. */
  requeuePending(): void {
    for (const request of this.pending) this.requeue(request);
  }

  // --- verdicts

  /** Decides which pending requests are confirmed. Returns their number. */
  decide(session: Session, view: ReplicaView): number {
    let decided = 0;
    const late: LateLock[] = [];
    for (const request of this.pending) {
      if (this.decideOne(view, request, late)) decided++;
      else if (request.verdictBy !== undefined) request.verdictBy = -Infinity;
    }
    if (late.length > 0) void this.verify(session, late);
    this.deadlines.schedule(this.pending, this.open.size);
    return decided;
  }

  /** True if the request is not pending any more. */
  private decideOne(view: ReplicaView, request: CommitRequest, late: LateLock[]): boolean {
    const { group } = request;
    if (group?.offset === undefined) return false;
    const verdict = this.verdicts.judge(view, request, group.offset);
    if (verdict.kind !== 'confirmed') return false;
    const validity = Validity.since(group.start, request.leaseTime);
    if (request.kind === 'renew') {
      const inTime = request.heldValidity.remaining(this.clock) > 0 && validity.remaining(this.clock) > 0;
      if (inTime) this.end(request, { kind: 'renewed', validity, confirmedBy: verdict.by });
      else this.expire(request);
    } else if (validity.remaining(this.clock) <= 0) this.expire(request);
    else if (this.clock.monotonic() - group.start.monotonic > PROMPT_TIME) {
      request.stage = 'verifying';
      this.pending.delete(request);
      late.push({ request, validity, confirmedBy: verdict.by });
    } else this.grant(request, validity, verdict.by);
    return true;
  }

  /** The confirmations came so late that a key may be deleted: asks Redis for the keys' owners. */
  private async verify(session: Session, late: readonly LateLock[]): Promise<void> {
    const requests = late.map(({ request }) => request);
    this.deadlines.verifying();
    const found = await checkOwners(requests, (commands) => session.askControl(commands));
    for (const { request, validity, confirmedBy } of late) {
      if (request.stage !== 'verifying') continue;
      if (found.get(request) !== -1) this.requeue(request);
      else if (validity.remaining(this.clock) <= 0) this.expire(request);
      else this.grant(request, validity, confirmedBy);
    }
    this.host.pump();
  }

  private grant(request: AcquireCommit, validity: Validity, confirmedBy: number): void {
    request.mayBeWritten = false;
    request.granted = true;
    this.longLeases.granted(request.names, request.limit);
    this.end(request, { kind: 'granted', token: request.token, confirmedBy, validity });
  }

  // --- ends

  private requeue(request: CommitRequest): void {
    if (this.prepareToSendAgain(request)) this.queue.add(request);
  }

  /** False if the request has ended here, because its slot belongs to another master. */
  private prepareToSendAgain(request: CommitRequest): boolean {
    request.stage = 'queued';
    request.verdictBy = undefined;
    this.pending.delete(request);
    return !this.endIfSlotMoved(request);
  }

  /** True if the request has ended here, because its slot belongs to another master. */
  private endIfSlotMoved(request: CommitRequest): boolean {
    if (this.ownership === undefined || this.ownership.owns(request.slot)) return false;
    this.routeAgain(request);
    return true;
  }

  /**
   * The caller looks for the slot's master again, with the same owner. An attempt that may be
   * written here is over instead, because its take-back is on its way.
   */
  private routeAgain(request: CommitRequest): void {
    if (request.kind === 'renew') this.end(request, ROUTE_AGAIN);
    else if (request.abandoned) this.takeBack(request);
    else this.refuse(request, request.mayBeWritten ? SLOT_LEFT : ROUTE_AGAIN);
  }

  /** Ends an attempt without its keys, and releases what an earlier connection may have written. */
  private refuse(request: AcquireCommit, outcome: AcquireOutcome | RouteAgain): void {
    this.releaseWritten(request);
    this.end(request, outcome);
  }

  private end(request: AcquireCommit, outcome: AcquireOutcome | RouteAgain): void;
  private end(request: RenewCommit, outcome: Parameters<RenewCommit['settle']>[0]): void;
  private end(request: CommitRequest, outcome: never): void {
    this.forget(request);
    request.settle(outcome);
  }

  private forget(request: CommitRequest): void {
    request.stage = 'ended';
    this.open.delete(request);
    this.pending.delete(request);
  }

  private takeBack(request: AcquireCommit): void {
    this.releaseWritten(request);
    this.forget(request);
  }

  private releaseWritten(request: AcquireCommit): void {
    const { keys, slot, scripts, owner, token, ttl } = request;
    if (request.mayBeWritten) void this.outbox.add({ keys, slot, scripts, owner, token, cooldown: 0 }, ttl);
  }

  private expire(request: CommitRequest): void {
    const why = this.verdicts.whyNot(this.host.sessionState(), request);
    if (request.kind === 'renew') {
      this.end(request, { kind: 'expired', why });
      return;
    }
    request.settle(why);
    this.abandon(request);
  }

  // --- deadlines

  private onDeadlines(now: number): void {
    this.endWaitForVerdict(now);
    for (const request of this.open) if (this.deadlines.of(request, now) <= now) this.expire(request);
    this.queue.forgetEnded();
    this.deadlines.schedule(this.open, this.open.size);
  }

  /**
   * Before a written request ends unconfirmed, the WAIT that blocks is ended. The replies to WAIT
   * and INFO may still confirm the request, and name the replicas that did not.
   */
  private endWaitForVerdict(now: number): void {
    const due = [...this.pending].filter(
      (request) =>
        request.kind === 'acquire' &&
        request.verdictBy === undefined &&
        this.deadlines.of(request, now) <= now,
    );
    if (due.length === 0 || !this.host.endWait()) return;
    for (const request of due) request.verdictBy = now + VERDICT_TIME;
  }
}
