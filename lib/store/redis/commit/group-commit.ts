import type { Clock } from '../../../common/clock.js';
import type { AcquireOutcome, CommitCounts, Misconfigured, Unavailable } from '../../lock-store.js';
import { IntrusiveSet } from '../../../common/intrusive-set.js';
import { Validity } from '../../validity.js';
import { checkOwners } from './check-owners.js';
import { CommitQueue } from './commit-queue.js';
import {
  SLOT_MOVED,
  type AcquireCommit,
  type CommitRequest,
  type SlotMoved,
  type RenewCommit,
} from './commit-request.js';
import type { Command, ErrorReply, Reply } from '../resp.js';
import { GroupsInFlight } from './groups-in-flight.js';
import { hiddenOffset, longLease, noAnswer, quarantined, SLOT_LEFT, troubleWith } from './messages.js';
import { EarliestTimer } from '../../../common/earliest-timer.js';
import type { LongLeases } from '../replication/long-leases.js';
import { mayBlameOne, meaningOf, refusedBy } from '../connection/error-replies.js';
import { redirectionOf } from '../connection/redirection.js';
import type { ReleaseOutbox } from './release-outbox.js';
import type { ReplicaView, Verdict } from '../replication/replica-view.js';
import type { ReplicationInfo } from '../replication/replication-info.js';
import { CommitGroup, type ScriptAnswer } from './commit-group.js';
import type { SlotOwnership } from './slot-ownership.js';
import type { Session } from '../connection/session.js';

/** Requests that one group carries at most. */
const GROUP_SIZE = 256;
/** How many of them are kept for new locks that wait: a backlog of renewals must not starve them either. */
const KEPT_FOR_NEW = 64;
/** A group that is sent while another blocks has as many requests at least: each costs the server its questions, however few it carries. */
const WORTH_A_GROUP = 32;
/** The share of its lease that a renewal has left when it is late: two thirds are left when it is due. */
const OVERDUE = 0.64;
/** ms between groups that decide nothing: doubled each time, up to the server's own tick. */
const FIRST_GROUP_PAUSE = 5;
const LONGEST_GROUP_PAUSE = 100;
/** ms from the sending of a request to its confirmation after which its keys are checked once more. */
const PROMPT_TIME = 10;
/** ms after which a renewal that the server refused is asked again. */
const RENEW_RETRY_TIME = 100;
/** ms that an unblocked WAIT, or the check of a late lock, may take beyond the time of a request. */
const VERDICT_TIME = 50;
/** ms until the next check of all deadlines, for each open request: among tens of thousands some end a little late, and each check costs time. */
const DEADLINE_CHECK_COST = 0.01;
/** ms between two checks whether everything has ended, at the close. */
const SETTLE_POLL_TIME = 5;

type State =
  | { readonly kind: 'closed'; readonly why: Unavailable }
  | { readonly kind: 'detached'; readonly why: Unavailable }
  | Attached;

interface Attached {
  readonly kind: 'attached';
  readonly session: Session;
  readonly view: ReplicaView;
  readonly inFlight: GroupsInFlight;
  /** Ends the pause before the next group, where there is one: nothing was decided by the last. */
  endPause: (() => void) | undefined;
}

/** What the replicas have confirmed. */
interface Confirmed {
  readonly request: AcquireCommit;
  readonly validity: Validity;
  readonly by: number;
}

/**
 * The way on which writes become grants, one for each master.
 *
 * WAIT blocks its connection, so all requests that arrive meanwhile form the next group: one pipeline of their scripts under one WAIT. A request counts
 * as confirmed when enough replicas have acknowledged the master's offset right after its script, whoever's WAIT brought that about; until
 * then it stays pending over the following groups, up to its own time limit. A new arrival ends a WAIT that blocks. So a
 * stopped replica delays those that need it and nobody else, and one round trip to the replicas serves a whole group.
 *
 * The offsets mean something only on one connection to one master: a request whose connection ended before its confirmation is *unknown*,
 * and is asked again by the same owner on the next one.
 */
export class GroupCommit {
  private state: State;
  private readonly queue = new CommitQueue();
  /** All that have not ended; those of them that are written and await their confirmation. */
  private readonly open = new IntrusiveSet<'openIndex', CommitRequest>('openIndex');
  private readonly pending = new IntrusiveSet<'pendingIndex', CommitRequest>('pendingIndex');
  private arrivals = 0;
  private startScheduled = false;
  private groupCount = 0;
  private requestCount = 0;
  private pauseTime = FIRST_GROUP_PAUSE;
  private readonly deadlineTimer: EarliestTimer;
  private deadlinesCheckedAt = -Infinity;
  /** The monotonic instant until which the checks of late locks may take. */
  private verifyingUntil = -Infinity;
  /** Set once nothing new is taken. */
  private closing: Unavailable | undefined;
  /** Why the server of the last session must not be trusted with a lock. */
  private misconfigured: Misconfigured | undefined;

  constructor(
    private readonly outbox: ReleaseOutbox,
    private readonly longLeases: LongLeases,
    private readonly clock: Clock,
    notYet: Unavailable,
    private readonly ownership?: SlotOwnership,
  ) {
    this.state = { kind: 'detached', why: notYet };
    // A process that was busy reads the answers in its sockets before it tells anyone that none came.
    this.deadlineTimer = new EarliestTimer(clock, () => clock.afterTurn(() => this.checkDeadlines()));
  }

  /** How many groups were sent, and how many requests in them. */
  get commits(): CommitCounts {
    return { groups: this.groupCount, requests: this.requestCount };
  }

  acquire(request: AcquireCommit): void {
    const refusal = this.refusalOf(request);
    if (refusal !== undefined) request.settle(refusal);
    else this.enqueue(request);
  }

  renew(request: RenewCommit): void {
    if (this.closing !== undefined) request.settle({ kind: 'expired', why: this.closing });
    else this.enqueue(request);
  }

  /** The caller has gone: nothing may be left behind. */
  abandon(request: AcquireCommit): void {
    if (request.stage === 'ended') {
      // Its grant has not reached the caller, who has gone.
      if (request.granted) {
        request.granted = false;
        request.mayBeWritten = true;
        this.releaseWritten(request);
      }
      return;
    }
    request.abandoned = true;
    // A script without its answer may still run: it is taken back after that answer, or by the next session, which kills it first.
    if (request.stage !== 'sent') this.takeBack(request);
  }

  /** `misconfigured`: why this server must not be trusted with new locks. */
  attach(session: Session, view: ReplicaView, misconfigured?: Misconfigured): void {
    this.misconfigured = misconfigured;
    const inFlight = new GroupsInFlight(session, this.clock);
    this.state = { kind: 'attached', session, view, inFlight, endPause: undefined };
    this.pauseTime = FIRST_GROUP_PAUSE;
    if (misconfigured !== undefined) {
      for (const request of this.open) if (request.kind === 'acquire') this.refuse(request, misconfigured);
    }
    this.pump();
  }

  /** The session ended: what was sent is unknown and comes first on the next one. */
  detach(why: Unavailable): void {
    if (this.state.kind === 'closed') return;
    this.leaveSession();
    this.state = { kind: 'detached', why };
    const unknown: CommitRequest[] = [];
    for (const request of this.open) {
      if (request.stage === 'queued') {
        if (why.permanent === true && !request.mayBeWritten && request.kind === 'acquire')
          this.end(request, why);
        continue;
      }
      request.mayBeWritten = true;
      if (request.kind === 'acquire' && request.abandoned) this.takeBack(request);
      else if (this.prepareToAskAgain(request)) unknown.push(request);
    }
    this.queue.addFirst(unknown.toSorted((a, b) => a.order - b.order));
  }

  /** Asks something else than a group on the commit connection, behind what blocks it. */
  ask(commands: readonly Command[]): Promise<Reply[]> {
    return this.state.kind === 'attached'
      ? this.state.inFlight.ask(commands)
      : Promise.reject(new Error(this.state.why.reason));
  }

  /** Something has changed that may let the queue move: the ages of the links, the server's settings. */
  pump(): void {
    if (this.state.kind !== 'attached' || this.startScheduled) return;
    this.startScheduled = true;
    // Behind all that this turn of the event loop still brings: the larger the group, the cheaper each of it.
    process.nextTick(() => {
      this.startScheduled = false;
      this.sendGroup();
    });
  }

  /** Requests that wait for a master that their slot has left are sent away. */
  onSlotsMoved(): void {
    for (const request of this.open) if (request.stage === 'queued') this.endIfSlotMoved(request);
  }

  /** Nothing is queued or out. */
  get isIdle(): boolean {
    return this.open.size === 0;
  }

  /** Ends everything. What the server is about to answer is taken back then: see `settled`. */
  close(why: Unavailable): void {
    this.closing = why;
    for (const request of this.open) {
      if (request.kind === 'renew') this.end(request, { kind: 'expired', why });
      else {
        request.settle(why);
        this.abandon(request);
      }
    }
  }

  /** Resolves once no answer is out, at the latest at the monotonic instant `until`. */
  async settled(until: number): Promise<void> {
    while (this.open.size > 0 && this.clock.monotonic() < until) {
      await new Promise<void>((resolve) => this.clock.after(SETTLE_POLL_TIME, resolve));
    }
  }

  /** Nothing is asked any more; what comes now is answered with `why`. */
  dispose(why: Unavailable): void {
    this.leaveSession();
    this.state = { kind: 'closed', why };
    this.deadlineTimer.stop();
    this.open.clear();
    this.pending.clear();
    this.queue.clear();
  }

  // --- asking

  private enqueue(request: CommitRequest): void {
    request.order = ++this.arrivals;
    this.open.add(request);
    if (this.endIfSlotMoved(request)) return;
    this.queue.add(request);
    this.deadlineTimer.noLaterThan(this.clock.monotonic() + request.window);
    this.pump();
  }

  /** Why a request cannot even be queued. */
  private refusalOf(request: AcquireCommit): AcquireOutcome | undefined {
    if (this.closing !== undefined) return this.closing;
    if (this.state.kind === 'closed') return this.state.why;
    if (this.misconfigured !== undefined) return this.misconfigured;
    if (this.state.kind === 'detached') return this.state.why.permanent === true ? this.state.why : undefined;
    const now = this.clock.monotonic();
    const left = this.state.view.quarantineLeft(now);
    return left > 0 && now + left > request.waitUntil ? quarantined(left) : undefined;
  }

  private sendGroup(): void {
    const { state } = this;
    if (state.kind !== 'attached') return;
    const { session, view, inFlight } = state;
    if (!inFlight.isEmpty && !this.sendsAnother(inFlight)) {
      if (!this.queue.isEmpty) inFlight.endWaitSoon();
      return;
    }
    const requests = this.takeGroup(view);
    // One without requests asks again for those that are pending.
    const isDue = this.pending.size > 0 && inFlight.isEmpty && state.endPause === undefined;
    if (requests.length === 0 && !isDue) return;
    state.endPause?.();
    state.endPause = undefined;
    const group = new CommitGroup(requests, this.clock);
    if (requests.length > 0) this.groupCount++;
    this.requestCount += requests.length;
    for (const request of requests) {
      request.stage = 'sent';
      request.group = group;
    }
    let need = Infinity;
    for (const { demand } of requests) need = Math.min(need, view.required(demand));
    for (const { demand } of this.pending) need = Math.min(need, view.required(demand));
    const offsetBefore = Math.max(view.masterOffset, inFlight.offset);
    inFlight.send(group, need, {
      onAnswer: (request, answer) => {
        if (request.stage === 'sent') this.onAnswer(session, request, answer);
      },
      onWritten: (info) => this.onWritten(session, group, info, offsetBefore),
      onClosed: (info, linkAnswer, count) =>
        this.onClosed(state, group, info, linkAnswer, typeof count === 'number' && count >= need),
    });
  }

  /** Whether a second group is sent behind the one that is out: for many requests, or for a renewal that cannot wait. */
  private sendsAnother(inFlight: GroupsInFlight): boolean {
    return (
      (inFlight.takesAnother && this.queue.size >= WORTH_A_GROUP) ||
      (inFlight.mayTakeAnother && this.isRenewalOverdue)
    );
  }

  /**
   * On a busy event loop the answers to the group that is out may lie in the socket for a turn, and
   * those to a renewal that waits for them for one more.
   */
  private get isRenewalOverdue(): boolean {
    const request = this.queue.nextRenewal;
    if (request?.kind !== 'renew') return false;
    return request.heldUntil.remaining(this.clock) < OVERDUE * request.leaseTime;
  }

  /** Renewals first, so that a backlog of callers cannot starve them; new locks only where replicas can be trusted with them. */
  private takeGroup(view: ReplicaView): CommitRequest[] {
    const requests: CommitRequest[] = [];
    const takesNew = this.queue.has('acquire') && view.quarantineLeft(this.clock.monotonic()) === 0;
    this.queue.takeInto(requests, 'renew', takesNew ? GROUP_SIZE - KEPT_FOR_NEW : GROUP_SIZE);
    if (takesNew) this.queue.takeInto(requests, 'acquire', GROUP_SIZE);
    const { ownership } = this;
    if (ownership === undefined) return requests;
    // Asked again when it is sent: its slot may have been on its way while it waited here.
    return requests.filter((request) => {
      if (request.kind === 'renew' || ownership.mayGrant(request.slot)) return true;
      this.endAsSlotMoved(request);
      return false;
    });
  }

  // --- answers

  private onAnswer(session: Session, request: CommitRequest, answer: ScriptAnswer): void {
    if (answer.kind === 'refused' || answer.kind === 'refused-together')
      this.onRefused(session, request, answer.error, answer.kind === 'refused-together');
    else if (answer.kind === 'written') {
      request.stage = 'written';
      request.mayBeWritten = true;
      this.pending.add(request);
      if ('token' in answer) request.token = answer.token;
      if (request.kind === 'acquire' && request.abandoned) this.takeBack(request);
    } else {
      const key = request.names[answer.index] ?? '';
      if (request.kind === 'renew') this.end(request, { kind: 'gone', key });
      else if (answer.kind === 'busy') {
        this.longLeases.met(key, answer.holder, this.clock.monotonic());
        this.refuse(request, { kind: 'busy', key, holder: answer.holder });
      } else if (answer.kind === 'foreign')
        this.refuse(request, { kind: 'foreign', key, found: answer.found });
    }
  }

  /** `together`: with the other requests of its run. Any of them may be the reason. */
  private onRefused(session: Session, request: CommitRequest, error: ErrorReply, together: boolean): void {
    const meaning = meaningOf(error);
    const redirection = this.ownership && redirectionOf(error);
    if (redirection !== undefined) {
      this.ownership?.onRedirection(redirection);
      request.isAlone = true;
    }
    if (!meaning.unwritten && error.code !== 'NOSCRIPT') request.mayBeWritten = true;
    if (request.kind === 'acquire' && request.abandoned) this.takeBack(request);
    else if (redirection?.kind === 'moved') this.endAsSlotMoved(request);
    else if (error.code === 'NOSCRIPT') this.requeue(request);
    else if (together && mayBlameOne(error)) {
      // Once: what is refused alone is its own fault.
      request.isAlone = true;
      this.requeue(request);
    } else if (request.kind === 'renew') {
      // It may be allowed again before the lock's validity ends.
      request.stage = 'queued';
      request.refused = refusedBy(session.address, error);
      this.clock.after(RENEW_RETRY_TIME, () => {
        if (request.stage === 'queued') this.requeue(request);
        this.pump();
      });
    } else this.refuse(request, refusedBy(session.address, error));
    if (meaning.reconnect === true) session.end(new Error(error.message));
  }

  private onWritten(
    session: Session,
    group: CommitGroup,
    info: ReplicationInfo | undefined,
    offsetBefore: number,
  ): void {
    const trouble = troubleWith(session, info);
    const hasWritten = group.requests.some((request) => request.stage === 'written');
    if (trouble !== undefined) session.end(trouble);
    else if (hasWritten && info !== undefined && info.links.length > 0 && info.offset <= offsetBefore) {
      session.end(hiddenOffset(session));
    } else if (!this.queue.isEmpty) this.pump();
  }

  /** `isContent`: WAIT itself counted as many replicas as the group needed. */
  private onClosed(
    state: Attached,
    group: CommitGroup,
    info: ReplicationInfo | undefined,
    linkAnswer: Reply,
    isContent: boolean,
  ): void {
    const { session, view, inFlight } = state;
    const trouble = troubleWith(session, info);
    if (trouble !== undefined || info === undefined) {
      session.end(trouble);
      return;
    }
    view.observe(info, linkAnswer, this.clock.monotonic());
    let decided = 0;
    const late: Confirmed[] = [];
    for (const request of this.pending) {
      if (this.decide(view, request, late)) decided++;
      else if (request.verdictBy !== undefined) request.verdictBy = -Infinity;
    }
    if (late.length > 0) void this.verify(session, late);
    this.scheduleDeadlineCheck(this.pending);
    // One that was ended for what stood behind it says little of how far the replicas are.
    if (decided > 0 || group.requests.length > 0 || group.isFollowed) this.pauseTime = FIRST_GROUP_PAUSE;
    if (decided > 0 || this.pending.size === 0 || !inFlight.isEmpty) this.pump();
    else this.pause(state, isContent);
  }

  /** True where the request is out of the way. */
  private decide(view: ReplicaView, request: CommitRequest, late: Confirmed[]): boolean {
    const { group } = request;
    if (group?.offset === undefined) return false;
    const verdict = this.judge(view, request, group.offset);
    if (verdict.kind !== 'confirmed') return false;
    const validity = Validity.since(group.start, request.leaseTime);
    if (request.kind === 'renew') {
      const inTime = request.heldUntil.remaining(this.clock) > 0 && validity.remaining(this.clock) > 0;
      if (inTime) this.end(request, { kind: 'renewed', validity, confirmedBy: verdict.by });
      else this.expire(request);
    } else if (validity.remaining(this.clock) <= 0) this.expire(request);
    else if (this.clock.monotonic() - group.start.monotonic > PROMPT_TIME) {
      request.stage = 'verifying';
      this.pending.delete(request);
      late.push({ request, validity, by: verdict.by });
    } else this.grant(request, validity, verdict.by);
    return true;
  }

  private judge(view: ReplicaView, { kind, names, demand, group }: CommitRequest, offset: number): Verdict {
    const standingSince = kind === 'renew' ? Infinity : this.longLeases.metAt(names, this.clock.monotonic());
    return view.judge(demand, offset, group?.start.monotonic ?? 0, standingSince);
  }

  /** Their confirmation took so long that somebody may well have deleted a key meanwhile: only Redis knows whether it is still theirs. */
  private async verify(session: Session, late: readonly Confirmed[]): Promise<void> {
    const requests = late.map(({ request }) => request);
    this.verifyingUntil = this.clock.monotonic() + VERDICT_TIME;
    const found = await checkOwners(requests, (commands) => session.askControl(commands));
    for (const { request, validity, by } of late) {
      if (request.stage !== 'verifying') continue;
      if (found.get(request) !== -1) this.requeue(request);
      else if (validity.remaining(this.clock) <= 0) this.expire(request);
      else this.grant(request, validity, by);
    }
    this.pump();
  }

  private grant(request: AcquireCommit, validity: Validity, confirmedBy: number): void {
    request.mayBeWritten = false;
    request.granted = true;
    this.end(request, { kind: 'granted', token: request.token, confirmedBy, validity });
  }

  // --- ends

  /** To be asked again, by the same owner. */
  private requeue(request: CommitRequest): void {
    if (this.prepareToAskAgain(request)) this.queue.add(request);
  }

  /** False if the request has ended here, because its slot belongs to another master. */
  private prepareToAskAgain(request: CommitRequest): boolean {
    request.stage = 'queued';
    request.verdictBy = undefined;
    this.pending.delete(request);
    return !this.endIfSlotMoved(request);
  }

  /** True where the request's slot belongs to another master; then it has ended here. */
  private endIfSlotMoved(request: CommitRequest): boolean {
    if (this.ownership === undefined || this.ownership.owns(request.slot)) return false;
    this.endAsSlotMoved(request);
    return true;
  }

  /** To be asked elsewhere; an attempt that may have written here is over, for its take-back is on the way. */
  private endAsSlotMoved(request: CommitRequest): void {
    if (request.kind === 'renew') this.end(request, SLOT_MOVED);
    else if (request.abandoned) this.takeBack(request);
    else this.refuse(request, request.mayBeWritten ? SLOT_LEFT : SLOT_MOVED);
  }

  /** Ends an attempt that did not get its keys; an earlier connection may have written some of them. */
  private refuse(request: AcquireCommit, outcome: AcquireOutcome | SlotMoved): void {
    this.releaseWritten(request);
    this.end(request, outcome);
  }

  private end(request: AcquireCommit, outcome: AcquireOutcome | SlotMoved): void;
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

  private releaseWritten({ mayBeWritten, keys, slot, owner, token, ttl }: AcquireCommit): void {
    if (mayBeWritten) void this.outbox.add({ keys, owner, token, cooldown: 0 }, slot, ttl);
  }

  /** Its time is up. */
  private expire(request: CommitRequest): void {
    const why = this.whyNot(request);
    if (request.kind === 'renew') {
      this.end(request, { kind: 'expired', why });
      return;
    }
    request.settle(why);
    this.abandon(request);
  }

  private whyNot(request: CommitRequest): Extract<AcquireOutcome, { kind: 'unavailable' | 'unconfirmed' }> {
    if (this.state.kind !== 'attached') return this.state.why;
    const { session, view } = this.state;
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

  // --- clocks

  private deadlineOf(request: CommitRequest, now: number): number {
    if (request.kind === 'renew') return now + request.heldUntil.remaining(this.clock);
    if (request.abandoned) return Infinity;
    const isPending = request.stage === 'written' || request.stage === 'verifying';
    if (!isPending || request.group === undefined) return request.endsAt;
    const deadline = request.group.start.monotonic + request.window;
    const verdictBy = request.stage === 'verifying' ? this.verifyingUntil : request.verdictBy;
    return Math.max(deadline, verdictBy ?? -Infinity);
  }

  private scheduleDeadlineCheck(requests: Iterable<CommitRequest>): void {
    const now = this.clock.monotonic();
    let earliest = Infinity;
    for (const request of requests) earliest = Math.min(earliest, this.deadlineOf(request, now));
    this.deadlineTimer.noLaterThan(
      Math.max(earliest, this.deadlinesCheckedAt + this.open.size * DEADLINE_CHECK_COST),
    );
  }

  private checkDeadlines(): void {
    const now = this.clock.monotonic();
    this.deadlinesCheckedAt = now;
    this.endWaitForVerdict(now);
    for (const request of this.open) if (this.deadlineOf(request, now) <= now) this.expire(request);
    this.queue.forgetEnded();
    this.scheduleDeadlineCheck(this.open);
  }

  /** Before a written request ends unconfirmed, the WAIT that blocks is ended: what it and INFO say may still confirm it, and says who did not. */
  private endWaitForVerdict(now: number): void {
    if (this.state.kind !== 'attached') return;
    const due = [...this.pending].filter(
      (request) =>
        request.kind === 'acquire' && request.verdictBy === undefined && this.deadlineOf(request, now) <= now,
    );
    if (due.length === 0 || !this.state.inFlight.endWait()) return;
    for (const request of due) request.verdictBy = now + VERDICT_TIME;
  }

  /**
   * Nothing was decided. Where WAIT was content all the same (`rewrite`), other clients' writes came between our script and INFO, and the server has no
   * reason to ask its replicas again: writing once more gives it one.
   */
  private pause(state: Attached, rewrite: boolean): void {
    state.endPause = this.clock.after(this.pauseTime, () => {
      state.endPause = undefined;
      if (rewrite) for (const request of this.pending) this.requeue(request);
      this.pump();
    });
    this.pauseTime = Math.min(LONGEST_GROUP_PAUSE, this.pauseTime * 2);
    this.pump();
  }

  private leaveSession(): void {
    if (this.state.kind !== 'attached') return;
    this.state.endPause?.();
    this.state.inFlight.end();
  }
}
