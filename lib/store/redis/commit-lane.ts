import type { Clock } from '../clock.js';
import type { AcquireOutcome, CommitCounts, Misconfigured, Unavailable } from '../lock-store.js';
import { Roster } from '../roster.js';
import { Validity } from '../validity.js';
import { CommitQueue } from './commit-queue.js';
import {
  MISROUTED,
  type AcquireCommit,
  type Carrier,
  type CommitRequest,
  type Misrouted,
  type RenewCommit,
} from './commit-request.js';
import type { ErrorReply, Reply } from './connection.js';
import { hiddenOffset, noAnswer, quarantined, silence, SLOT_LEFT, troubleWith } from './lane-words.js';
import { NextLook } from './next-look.js';
import type { Quarantine } from './quarantine.js';
import { meaningOf, refusedBy } from './refusal.js';
import { redirectionOf } from './redirection.js';
import type { Releases } from './releases.js';
import type { ReplicaView } from './replica-view.js';
import type { ReplicationInfo } from './replication-info.js';
import { Round, type Answer } from './round.js';
import type { Route } from './route.js';
import { isHeldBy } from './scripts/value.js';
import type { Session } from './session.js';

/** Requests that one round carries at most. */
const GROUP = 256;
/** How many of them are kept for new locks that wait: a backlog of renewals must not starve them either. */
const KEPT_FOR_NEW = 64;
/** ms that a WAIT may block: as long as somebody can end it from outside, or one tick of the server's clock. */
const SLICE = 1_000;
const SLICE_WITHOUT_UNBLOCK = 100;
/** ms beyond its slice after which a round without its last answer means that the server is gone. */
const ANSWER_ALLOWANCE = 1_000;
/** ms that a WAIT blocks before a new arrival ends it. */
const UNBLOCK_AFTER = 2;
/** ms between rounds that decide nothing: doubled each time, up to the server's own tick. */
const FIRST_PAUSE = 5;
const LONGEST_PAUSE = 100;
/** ms after which a renewal that the server refused is asked again. */
const RENEW_RETRY_TIME = 100;
/** ms that an unblocked WAIT may take to answer a request whose time is up. */
const VERDICT_TIME = 50;
/** ms until the next look at all deadlines for each request that it looks at: among tens of thousands some end a little late, and looking costs little. */
const LOOK_COST = 0.01;
/** ms between two looks whether everything has ended, at the close. */
const SETTLE_LOOK_TIME = 5;

type State =
  | { readonly kind: 'closed'; readonly why: Unavailable }
  | { readonly kind: 'detached'; readonly why: Unavailable }
  | { readonly kind: 'idle'; readonly session: Session; readonly view: ReplicaView }
  | { readonly kind: 'round'; readonly session: Session; readonly view: ReplicaView; readonly round: Round }
  | {
      readonly kind: 'pause';
      readonly session: Session;
      readonly view: ReplicaView;
      readonly end: () => void;
    };

/**
 * The way on which writes become grants, one for each master.
 *
 * WAIT blocks its connection, so all requests that arrive meanwhile form the next group: one pipeline of their scripts under one WAIT. A request counts
 * as confirmed when enough replicas have acknowledged the master's offset right after its script, whoever's WAIT brought that about; until
 * then it stays pending over the following rounds, up to its own time limit. A new arrival ends a WAIT that blocks. So a
 * stopped replica delays those that need it and nobody else, and one round trip to the replicas serves a whole group.
 *
 * The offsets mean something only on one connection to one master: a request whose connection ended before its confirmation is *unknown*,
 * and is asked again by the same owner on the next one.
 */
export class CommitLane {
  private state: State;
  private readonly queue = new CommitQueue();
  /** All that have not ended; those of them that are written and await their confirmation. */
  private readonly alive = new Roster<'alivePlace', CommitRequest>('alivePlace');
  private readonly pending = new Roster<'pendingPlace', CommitRequest>('pendingPlace');
  /** Rounds that carried some of them, and how many: they collect the notices that come meanwhile. */
  private readonly openRounds = new Map<Carrier, number>();
  private startScheduled = false;
  private groups = 0;
  private carried = 0;
  private pauseTime = FIRST_PAUSE;
  private readonly nextLook: NextLook;
  private lookedAt = -Infinity;
  private stopRoundClock: () => void = () => {};
  private stopUnblockClock: (() => void) | undefined;
  /** Set once nothing new is taken. */
  private closing: Unavailable | undefined;
  /** Set while the server must not be trusted with a lock. */
  misconfigured: Misconfigured | undefined;

  constructor(
    private readonly releases: Releases,
    private readonly quarantine: Quarantine,
    /** ms that a key outlives its lease. */
    private readonly ttlMargin: number,
    private readonly clock: Clock,
    notYet: Unavailable,
    private readonly route?: Route,
  ) {
    this.state = { kind: 'detached', why: notYet };
    this.nextLook = new NextLook(clock, () => this.look());
  }

  /** How many groups were sent, and how many requests in them. */
  get commits(): CommitCounts {
    return { groups: this.groups, requests: this.carried };
  }

  acquire(request: AcquireCommit): void {
    // Before it is granted: other copies of this application may hold such a lease already.
    this.quarantine.seen(request.leaseTime);
    const refusal = this.refusalOf(request);
    if (refusal !== undefined) request.settle(refusal);
    else this.enqueue(request);
  }

  renew(request: RenewCommit): void {
    if (request.purpose === 'hold') this.quarantine.seen(request.leaseTime);
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
        this.giveBack(request);
      }
      return;
    }
    request.abandoned = true;
    // A script without its answer may still run: it is taken back after that answer, or by the next session, which kills it first.
    if (request.stage !== 'sent') this.takeBack(request);
  }

  attach(session: Session, view: ReplicaView): void {
    this.state = { kind: 'idle', session, view };
    this.pauseTime = FIRST_PAUSE;
    const { misconfigured } = this;
    if (misconfigured !== undefined) {
      for (const request of this.alive) if (request.kind === 'acquire') this.refuse(request, misconfigured);
    }
    this.pump();
  }

  /** The session ended: what was sent is unknown and comes first on the next one. */
  detach(why: Unavailable): void {
    if (this.state.kind === 'closed') return;
    this.leaveState();
    this.state = { kind: 'detached', why };
    for (const request of this.alive) {
      if (request.stage === 'queued') {
        if (why.permanent === true && !request.mayBeWritten && request.kind === 'acquire')
          this.end(request, why);
        continue;
      }
      request.mayBeWritten = true;
      if (request.kind === 'acquire' && request.abandoned) this.takeBack(request);
      else this.requeue(request, 'first');
    }
  }

  /** Somebody changed the key, or may have. */
  noticed(key: string | undefined): void {
    for (const round of this.openRounds.keys()) round.notice(key);
  }

  /** Something has changed that may let the queue move: the ages of the links, the server's settings. */
  pump(): void {
    if (this.isDetached || this.startScheduled) return;
    if (this.state.kind === 'round') {
      this.endWaitSoon(this.state.session, this.state.round);
      return;
    }
    this.startScheduled = true;
    // Behind all that this turn of the event loop still brings: the larger the group, the cheaper each of it.
    process.nextTick(() => {
      this.startScheduled = false;
      this.startRound();
    });
  }

  /** Requests that wait for a master that their slot has left are sent away. */
  reroute(): void {
    for (const request of this.alive) if (request.stage === 'queued') this.misrouteIfElsewhere(request);
  }

  /** Nothing is queued or out. */
  get isIdle(): boolean {
    return this.alive.size === 0;
  }

  /** Ends everything. What the server is about to answer is taken back then: see `settled`. */
  close(why: Unavailable): void {
    this.closing = why;
    for (const request of this.alive) {
      if (request.kind === 'renew') this.end(request, { kind: 'expired', why });
      else {
        request.settle(why);
        this.abandon(request);
      }
    }
  }

  /** Resolves once no answer is out, at the latest at the monotonic instant `until`. */
  async settled(until: number): Promise<void> {
    while (this.alive.size > 0 && this.clock.monotonic() < until) {
      await new Promise<void>((resolve) => this.clock.after(SETTLE_LOOK_TIME, resolve));
    }
  }

  /** Nothing is asked any more; what comes now is answered with `why`. */
  dispose(why: Unavailable): void {
    this.leaveState();
    this.state = { kind: 'closed', why };
    this.nextLook.stop();
    this.alive.clear();
    this.pending.clear();
    this.queue.clear();
  }

  // --- asking

  private enqueue(request: CommitRequest): void {
    this.alive.add(request);
    if (this.misrouteIfElsewhere(request)) return;
    this.queue.add(request);
    this.nextLook.noLaterThan(this.clock.monotonic() + request.window);
    this.pump();
  }

  /** Why a request cannot even be queued. */
  private refusalOf(request: AcquireCommit): AcquireOutcome | undefined {
    if (this.closing !== undefined) return this.closing;
    if (this.state.kind === 'closed') return this.state.why;
    if (this.misconfigured !== undefined) return this.misconfigured;
    if (this.state.kind === 'detached') return this.state.why.permanent === true ? this.state.why : undefined;
    const now = this.clock.monotonic();
    if (request.waitUntil > now) return undefined;
    const left = this.state.view.quarantineLeft(now);
    return left > 0 ? quarantined(left) : undefined;
  }

  private startRound(): void {
    const { state } = this;
    if (state.kind !== 'idle' && state.kind !== 'pause') return;
    const { session, view } = state;
    const group = this.takeGroup(view);
    if (group.length === 0 && this.pending.size === 0) {
      this.leaveState();
      this.state = { kind: 'idle', session, view };
      return;
    }
    if (state.kind === 'pause') {
      if (group.length === 0) return;
      state.end();
    }
    const round = new Round(group, this.ttlMargin, this.clock);
    if (group.length > 0) this.groups++;
    this.carried += group.length;
    for (const request of group) {
      this.leaveRound(request);
      request.stage = 'sent';
      request.round = round;
    }
    if (group.length > 0) this.openRounds.set(round, group.length);
    this.state = { kind: 'round', session, view, round };
    let need = Infinity;
    for (const { demand } of group) need = Math.min(need, view.required(demand));
    for (const { demand } of this.pending) need = Math.min(need, view.required(demand));
    const slice = session.canUnblock ? SLICE : SLICE_WITHOUT_UNBLOCK;
    this.watchRound(session, round, slice);
    const offsetBefore = view.masterOffset;
    const isCurrent = (): boolean => this.state.kind === 'round' && this.state.round === round;
    round.send(session, need, slice, {
      onAnswer: (request, answer) => {
        if (isCurrent() && request.stage === 'sent') this.onAnswer(session, request, answer);
      },
      onWritten: (info) => {
        if (isCurrent()) this.onWritten(session, round, info, offsetBefore);
      },
      onClosed: (info, linkAnswer, count) => {
        if (isCurrent()) this.onClosed(session, view, round, need, info, linkAnswer, count);
      },
    });
  }

  /** Renewals first, so that a backlog of callers cannot starve them; new locks only where replicas can be trusted with them. */
  private takeGroup(view: ReplicaView): CommitRequest[] {
    const group: CommitRequest[] = [];
    const takesNew = this.queue.has('acquire') && view.quarantineLeft(this.clock.monotonic()) === 0;
    this.queue.takeInto(group, 'renew', takesNew ? GROUP - KEPT_FOR_NEW : GROUP);
    if (takesNew) this.queue.takeInto(group, 'acquire', GROUP);
    const { route } = this;
    if (route === undefined) return group;
    // Asked again when it is sent: its slot may have been on its way while it waited here.
    return group.filter((request) => {
      if (request.kind === 'renew' || route.mayGrant(request.slot)) return true;
      this.misroute(request);
      return false;
    });
  }

  // --- answers

  private onAnswer(session: Session, request: CommitRequest, answer: Answer): void {
    if (answer.kind === 'refused') this.onRefused(session, request, answer.error);
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
        // What is only kept busy is nobody's lease, however long.
        if (!answer.holder.isKept) this.quarantine.seen(answer.holder.remainingTime);
        this.refuse(request, { kind: 'busy', key, holder: answer.holder });
      } else if (answer.kind === 'foreign')
        this.refuse(request, { kind: 'foreign', key, found: answer.found });
    }
  }

  private onRefused(session: Session, request: CommitRequest, error: ErrorReply): void {
    const meaning = meaningOf(error);
    const redirection = this.route && redirectionOf(error);
    if (redirection !== undefined) this.route?.redirected(redirection);
    request.isAlone = redirection !== undefined;
    if (request.kind === 'acquire' && request.abandoned) this.takeBack(request);
    else if (redirection?.kind === 'moved') this.misroute(request);
    else if (error.code === 'NOSCRIPT') this.requeue(request, 'last');
    else if (request.kind === 'renew') {
      // It may be allowed again before the lock's validity ends.
      request.stage = 'queued';
      request.refused = refusedBy(session.address, error);
      this.clock.after(RENEW_RETRY_TIME, () => {
        if (request.stage === 'queued') this.requeue(request, 'last');
        this.pump();
      });
    } else {
      if (!meaning.unwritten) request.mayBeWritten = true;
      this.refuse(request, refusedBy(session.address, error));
    }
    if (meaning.reconnect === true) session.end(new Error(error.message));
  }

  private onWritten(
    session: Session,
    round: Round,
    info: ReplicationInfo | undefined,
    offsetBefore: number,
  ): void {
    const trouble = troubleWith(session, info);
    const hasWritten = round.requests.some((request) => request.stage === 'written');
    if (trouble !== undefined) session.end(trouble);
    else if (hasWritten && info !== undefined && info.links.length > 0 && info.offset <= offsetBefore) {
      session.end(hiddenOffset(session));
    } else if (!this.queue.isEmpty) this.endWaitSoon(session, round);
  }

  private onClosed(
    session: Session,
    view: ReplicaView,
    round: Round,
    need: number,
    info: ReplicationInfo | undefined,
    linkAnswer: Reply,
    count: Reply,
  ): void {
    const trouble = troubleWith(session, info);
    if (trouble !== undefined || info === undefined) {
      session.end(trouble);
      return;
    }
    this.leaveState();
    this.state = { kind: 'idle', session, view };
    view.observe(info, linkAnswer, this.clock.monotonic());
    let decided = 0;
    for (const request of this.pending) if (this.decide(session, view, request)) decided++;
    this.lookAtDeadlines(this.pending);
    if (decided > 0 || round.requests.length > 0) this.pauseTime = FIRST_PAUSE;
    if (decided > 0 || this.pending.size === 0) this.pump();
    else this.pause(session, view, typeof count === 'number' && count >= need);
  }

  /** True where the request is out of the way. */
  private decide(session: Session, view: ReplicaView, request: CommitRequest): boolean {
    const { round } = request;
    if (round?.offset === undefined) return false;
    const verdict = view.judge(request.demand, round.offset, round.start.monotonic);
    if (verdict.kind !== 'confirmed') return false;
    const validity = Validity.since(round.start, request.leaseTime);
    if (request.kind === 'renew') {
      const inTime = request.heldUntil.remaining(this.clock) > 0 && validity.remaining(this.clock) > 0;
      if (inTime) this.end(request, { kind: 'renewed', validity, confirmedBy: verdict.by });
      else this.expire(request);
    } else if (validity.remaining(this.clock) <= 0) this.expire(request);
    else if (request.keys.some((key) => round.noticed.has(key)))
      void this.verify(session, request, validity, verdict.by);
    else this.grant(request, validity, verdict.by);
    return true;
  }

  /** Somebody changed one of the keys while the grant was under way (often our own release before it): only Redis knows whether it is still ours. */
  private async verify(
    session: Session,
    request: AcquireCommit,
    validity: Validity,
    confirmedBy: number,
  ): Promise<void> {
    request.stage = 'verifying';
    this.pending.delete(request);
    const { round } = request;
    for (const key of request.keys) round?.noticed.delete(key);
    const values = await session.askControl(request.keys.map((key) => ['get', key] as const)).catch(() => []);
    if (request.stage !== 'verifying') return;
    const isOurs = values.length > 0 && values.every((value) => isHeldBy(value, request.owner));
    if (!isOurs) {
      this.requeue(request, 'last');
      this.pump();
    } else if (validity.remaining(this.clock) <= 0) this.expire(request);
    // Changed again between the question and its answer.
    else if (request.keys.some((key) => round?.noticed.has(key)))
      void this.verify(session, request, validity, confirmedBy);
    else this.grant(request, validity, confirmedBy);
  }

  private grant(request: AcquireCommit, validity: Validity, confirmedBy: number): void {
    request.mayBeWritten = false;
    request.granted = true;
    this.end(request, { kind: 'granted', token: request.token, confirmedBy, validity });
  }

  // --- ends

  /** To be asked (again), by the same owner. */
  private requeue(request: CommitRequest, place: 'first' | 'last'): void {
    request.stage = 'queued';
    this.pending.delete(request);
    if (!this.misrouteIfElsewhere(request)) this.queue.add(request, place);
  }

  /** True where the request's slot belongs to another master; then it has ended here. */
  private misrouteIfElsewhere(request: CommitRequest): boolean {
    if (this.route === undefined || this.route.owns(request.slot)) return false;
    this.misroute(request);
    return true;
  }

  /** To be asked elsewhere; an attempt that may have written here is over, for its take-back is on the way. */
  private misroute(request: CommitRequest): void {
    if (request.kind === 'renew') this.end(request, MISROUTED);
    else if (request.abandoned) this.takeBack(request);
    else this.refuse(request, request.mayBeWritten ? SLOT_LEFT : MISROUTED);
  }

  /** Ends an attempt that did not get its keys; an earlier connection may have written some of them. */
  private refuse(request: AcquireCommit, outcome: AcquireOutcome | Misrouted): void {
    this.giveBack(request);
    this.end(request, outcome);
  }

  private end(request: AcquireCommit, outcome: AcquireOutcome | Misrouted): void;
  private end(request: RenewCommit, outcome: Parameters<RenewCommit['settle']>[0]): void;
  private end(request: CommitRequest, outcome: never): void {
    this.forget(request);
    request.settle(outcome);
  }

  private forget(request: CommitRequest): void {
    request.stage = 'ended';
    this.leaveRound(request);
    this.alive.delete(request);
    this.pending.delete(request);
  }

  private leaveRound(request: CommitRequest): void {
    const { round } = request;
    request.round = undefined;
    if (round === undefined) return;
    const left = (this.openRounds.get(round) ?? 1) - 1;
    if (left === 0) this.openRounds.delete(round);
    else this.openRounds.set(round, left);
  }

  private takeBack(request: AcquireCommit): void {
    this.giveBack(request);
    this.forget(request);
  }

  private giveBack({ mayBeWritten, keys, slot, owner, leaseTime }: AcquireCommit): void {
    if (mayBeWritten) void this.releases.add({ keys, owner, keepFor: 0 }, slot, leaseTime + this.ttlMargin);
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
    if (this.state.kind === 'detached' || this.state.kind === 'closed') return this.state.why;
    const { session, view } = this.state;
    const left = view.quarantineLeft(this.clock.monotonic());
    const offset = request.round?.offset;
    if (request.kind === 'acquire' && left > 0) return quarantined(left);
    if (request.stage !== 'written' || offset === undefined) {
      return (request.kind === 'renew' ? request.refused : undefined) ?? noAnswer(session);
    }
    const verdict = view.judge(request.demand, offset, request.round?.start.monotonic ?? 0);
    if (verdict.kind === 'young') return quarantined(this.quarantine.time);
    const required = view.required(request.demand);
    return {
      kind: 'unconfirmed',
      confirmed: verdict.kind === 'lacking' ? verdict.confirmed : verdict.by,
      required,
      members: view.report(offset),
    };
  }

  // --- clocks

  private deadlineOf(request: CommitRequest, now: number): number {
    if (request.kind === 'renew') return now + request.heldUntil.remaining(this.clock);
    if (request.abandoned) return Infinity;
    const isPending = request.stage === 'written' || request.stage === 'verifying';
    return isPending && request.round !== undefined
      ? request.round.start.monotonic + request.window
      : request.endsAt;
  }

  private lookAtDeadlines(requests: Iterable<CommitRequest>): void {
    const now = this.clock.monotonic();
    let earliest = Infinity;
    for (const request of requests) earliest = Math.min(earliest, this.deadlineOf(request, now));
    this.nextLook.noLaterThan(Math.max(earliest, this.lookedAt + this.alive.size * LOOK_COST));
  }

  private look(): void {
    const now = this.clock.monotonic();
    this.lookedAt = now;
    if (this.endWaitForVerdict(now)) return;
    for (const request of this.alive) if (this.deadlineOf(request, now) <= now) this.expire(request);
    this.queue.forgetEnded();
    this.lookAtDeadlines(this.alive);
  }

  /** Before a written request ends unconfirmed, the WAIT that blocks is ended: what it and INFO say may still confirm it, and says who did not. */
  private endWaitForVerdict(now: number): boolean {
    if (this.state.kind !== 'round' || !this.state.session.canUnblock || this.state.round.isEnding)
      return false;
    const isDue = [...this.pending].some(
      (request) => request.kind === 'acquire' && this.deadlineOf(request, now) <= now,
    );
    if (!isDue) return false;
    this.state.round.isEnding = true;
    this.state.session.unblockCommit();
    this.nextLook.noLaterThan(now + VERDICT_TIME);
    return true;
  }

  private watchRound(session: Session, round: Round, slice: number): void {
    this.stopRoundClock = this.clock.after(ANSWER_ALLOWANCE, () => {
      if (round.offset === undefined) session.end(silence(session, ANSWER_ALLOWANCE));
      else {
        this.stopRoundClock = this.clock.after(slice, () =>
          session.end(silence(session, ANSWER_ALLOWANCE + slice)),
        );
      }
    });
  }

  /** Somebody is waiting behind the WAIT: it is given a moment, then ended. */
  private endWaitSoon(session: Session, round: Round): void {
    if (!session.canUnblock || this.stopUnblockClock !== undefined || round.writtenAt === undefined) return;
    const blockedFor = this.clock.monotonic() - round.writtenAt;
    this.stopUnblockClock = this.clock.after(Math.max(0, UNBLOCK_AFTER - blockedFor), () =>
      session.unblockCommit(),
    );
  }

  /**
   * Nothing was decided. Where WAIT was content all the same (`rewrite`), other clients' writes came between our script and INFO, and the server has no
   * reason to ask its replicas again: writing once more gives it one.
   */
  private pause(session: Session, view: ReplicaView, rewrite: boolean): void {
    const end = this.clock.after(this.pauseTime, () => {
      this.state = { kind: 'idle', session, view };
      if (rewrite) for (const request of this.pending) this.requeue(request, 'last');
      this.pump();
    });
    this.pauseTime = Math.min(LONGEST_PAUSE, this.pauseTime * 2);
    this.state = { kind: 'pause', session, view, end };
    this.pump();
  }

  private get isDetached(): boolean {
    return this.state.kind === 'detached' || this.state.kind === 'closed';
  }

  private leaveState(): void {
    if (this.state.kind === 'pause') this.state.end();
    this.stopRoundClock();
    this.stopUnblockClock?.();
    this.stopUnblockClock = undefined;
  }
}
