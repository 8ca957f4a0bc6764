import type { Clock } from '../../../common/clock.js';
import type {
  AcquireOutcome,
  CommitCounts,
  Misconfigured,
  Unavailable,
  Unconfirmed,
} from '../../lock-store.js';
import { RENEWALS_PER_LEASE } from '../../validity.js';
import type { Session } from '../connection/session.js';
import type { LongLeases } from '../replication/long-leases.js';
import type { ReplicaView } from '../replication/replica-view.js';
import type { ReplicationInfo } from '../replication/replication-info.js';
import type { Command, Reply } from '../resp.js';
import { CommitGroup } from './commit-group.js';
import type { AcquireCommit, CommitRequest, RenewCommit } from './commit-request.js';
import { GroupsInFlight } from './groups-in-flight.js';
import { hiddenOffset, noReplica, quarantined, whyUnusable } from './messages.js';
import { OpenRequests } from './open-requests.js';
import type { ReleaseOutbox } from './release-outbox.js';
import type { SlotOwnership } from './slot-ownership.js';

/**
 * The fewest requests for which a second group is sent while another blocks. Each group costs the
 * server an INFO, a WAIT and a CLIENT LIST, however few requests it carries.
 */
const WORTH_A_GROUP = 32;
/**
 * A renewal is overdue if less than this share of the lease is left. When the renewal is due,
 * `1 - 1 / RENEWALS_PER_LEASE` is left, less the clock drift (1% + 2 ms). So a renewal that is
 * about 1% of its lease late is overdue.
 */
const OVERDUE_SHARE = 0.975 * (1 - 1 / RENEWALS_PER_LEASE);
/**
 * ms between groups that decide nothing: doubled each time, up to the tick of the server's clock.
 */
const FIRST_GROUP_PAUSE = 5;
const LONGEST_GROUP_PAUSE = 100;
/** ms between two checks at the close whether every request has ended. */
const IDLE_POLL_TIME = 5;

type State =
  | { readonly kind: 'closed'; readonly why: Unavailable }
  | { readonly kind: 'detached'; readonly why: Unavailable }
  | Attached;

interface Attached {
  readonly kind: 'attached';
  readonly session: Session;
  readonly view: ReplicaView;
  readonly inFlight: GroupsInFlight;
  /** Ends the pause before the next group; undefined if there is no pause. */
  endPause: (() => void) | undefined;
}

/**
 * Makes writes into grants, in groups. Each master has its own.
 *
 * WAIT blocks its connection, so all requests that arrive meanwhile form the next group: one
 * pipeline of their scripts under one WAIT. A request counts as confirmed if enough replicas have
 * acknowledged the master's offset right after its script. Which group's WAIT brought that about
 * does not matter. Until then the request stays pending over the following groups, up to its own
 * time limit. A new arrival ends a WAIT that blocks. So a stopped replica delays only the requests
 * that need that replica, and one round trip to the replicas serves a whole group.
 *
 * The offsets mean something only on one connection to one master. A request whose connection ended
 * before its confirmation is *unknown*, and is sent again by the same owner on the next connection.
 *
 * This class decides when a group goes out. `OpenRequests` knows what becomes of each request.
 */
export class GroupCommit {
  private state: State;
  private readonly requests: OpenRequests;
  private startScheduled = false;
  private groupCount = 0;
  private requestCount = 0;
  private pauseTime = FIRST_GROUP_PAUSE;
  /** Set once no new request is taken. */
  private closing: Unavailable | undefined;
  /** Why the server of the last session must not be trusted with a lock. */
  private misconfigured: Misconfigured | undefined;

  constructor(
    outbox: ReleaseOutbox,
    longLeases: LongLeases,
    private readonly clock: Clock,
    notYet: Unavailable,
    ownership?: SlotOwnership,
  ) {
    this.state = { kind: 'detached', why: notYet };
    const host = {
      sessionState: () => this.state,
      pump: () => this.pump(),
      endWait: () => this.state.kind === 'attached' && this.state.inFlight.endWait(),
    };
    this.requests = new OpenRequests(outbox, longLeases, clock, host, ownership);
  }

  /** How many groups were sent, and how many requests in them. */
  get commits(): CommitCounts {
    return { groups: this.groupCount, requests: this.requestCount };
  }

  /** No request is queued or in flight. */
  get isIdle(): boolean {
    return this.requests.isEmpty;
  }

  /**
   * Why a new lock is refused before `waitUntil` whatever happens, so that its caller need not wait;
   * undefined if waiting may help.
   */
  whyInVain({ demand, waitUntil }: Pick<AcquireCommit, 'demand' | 'waitUntil'>): AcquireOutcome | undefined {
    if (this.closing !== undefined) return this.closing;
    if (this.state.kind === 'closed') return this.state.why;
    if (this.misconfigured !== undefined) return this.misconfigured;
    if (this.state.kind === 'detached') return this.state.why.permanent === true ? this.state.why : undefined;
    const { view } = this.state;
    if (view.replicaCount === 0 && !demand.allowNoReplicas) return noReplica(view.required(demand));
    const now = this.clock.monotonic();
    const left = view.quarantineLeft(now);
    return left > 0 && now + left > waitUntil ? quarantined(left) : undefined;
  }

  acquire(request: AcquireCommit): void {
    const refusal = this.whyInVain(request);
    if (refusal !== undefined) request.settle(refusal);
    else this.requests.add(request);
  }

  renew(request: RenewCommit): void {
    if (this.closing !== undefined) request.settle({ kind: 'expired', why: this.closing });
    else this.requests.add(request);
  }

  /** What the renewal lacks now; undefined once it is answered. */
  whyNot(request: RenewCommit): Unconfirmed | Unavailable | undefined {
    return this.requests.whyNot(request);
  }

  /** The caller has given up: no key may be left behind. */
  abandon(request: AcquireCommit): void {
    this.requests.abandon(request);
  }

  /** `misconfigured`: why this server must not be trusted with new locks. */
  attach(session: Session, view: ReplicaView, misconfigured?: Misconfigured): void {
    this.misconfigured = misconfigured;
    const inFlight = new GroupsInFlight(session, this.clock);
    this.state = { kind: 'attached', session, view, inFlight, endPause: undefined };
    this.pauseTime = FIRST_GROUP_PAUSE;
    this.onReplicasSeen();
  }

  /** The replicas were polled: refuses what waits in vain, and sends what may be sent now. */
  onReplicasSeen(): void {
    this.requests.refuseNewLocks((request) => this.whyInVain(request));
    this.pump();
  }

  /**
   * There is no session, for the reason `why`: the session has ended, or another try to connect has
   * failed.
   */
  detach(why: Unavailable): void {
    if (this.state.kind === 'closed') return;
    this.leaveSession();
    this.state = { kind: 'detached', why };
    this.requests.onNoSession(why);
  }

  /** Sends commands other than a group on the commit connection, behind the WAIT that blocks. */
  ask(commands: readonly Command[]): Promise<Reply[]> {
    return this.state.kind === 'attached'
      ? this.state.inFlight.ask(commands)
      : Promise.reject(new Error(this.state.why.reason));
  }

  /**
   * Called if a group may be due: a request was queued, a group was answered, or a poll of the
   * replicas may have ended a quarantine.
   */
  pump(): void {
    if (this.state.kind !== 'attached' || this.startScheduled) return;
    this.startScheduled = true;
    // Behind everything that this turn of the event loop still brings: the larger the group, the
    // cheaper each of its requests.
    process.nextTick(() => {
      this.startScheduled = false;
      this.sendGroup();
    });
  }

  /** The slots of this master have changed. */
  onSlotsMoved(): void {
    this.requests.onSlotsMoved();
  }

  /** Answers every request. The server's later answers are still taken back: see `whenIdle`. */
  close(why: Unavailable): void {
    this.closing = why;
    this.requests.close(why);
  }

  /** Resolves once no answer is outstanding, at the latest at the monotonic instant `until`. */
  async whenIdle(until: number): Promise<void> {
    while (!this.isIdle && this.clock.monotonic() < until) {
      await new Promise<void>((resolve) => this.clock.after(IDLE_POLL_TIME, resolve));
    }
  }

  /** Sends nothing any more, and answers later requests with `why`. */
  dispose(why: Unavailable): void {
    this.leaveSession();
    this.state = { kind: 'closed', why };
    this.requests.dispose();
  }

  // --- which requests

  /** Takes new locks only if the replicas can be trusted with them. */
  private takeGroup(view: ReplicaView): CommitRequest[] {
    const { queue } = this.requests;
    const takesNew = queue.has('acquire') && view.quarantineLeft(this.clock.monotonic()) === 0;
    return this.requests.grantableNow(queue.takeGroup(takesNew));
  }

  // --- when a group goes out

  private sendGroup(): void {
    const { state } = this;
    if (state.kind !== 'attached') return;
    const { session, view, inFlight } = state;
    if (!inFlight.isEmpty && !this.sendsAnother(inFlight)) {
      if (!this.requests.queue.isEmpty) inFlight.endWaitSoon();
      return;
    }
    const requests = this.takeGroup(view);
    // A group without requests asks again whether the pending ones are confirmed.
    const isDue = this.requests.hasPending && inFlight.isEmpty && state.endPause === undefined;
    if (requests.length === 0 && !isDue) return;
    state.endPause?.();
    state.endPause = undefined;
    const group = new CommitGroup(requests, this.clock);
    if (requests.length > 0) this.groupCount++;
    this.requestCount += requests.length;
    this.requests.onSent(group);
    const need = this.requests.leastRequired(requests, view);
    const offsetBefore = Math.max(view.masterOffset, inFlight.offset);
    inFlight.send(group, need, {
      onAnswer: (request, answer) => this.requests.onAnswer(session, request, answer),
      onWritten: (info) => this.onWritten(session, group, info, offsetBefore),
      onCompleted: (info, linkAnswer, count) =>
        this.onCompleted(state, group, info, linkAnswer, typeof count === 'number' && count >= need),
    });
  }

  /**
   * Whether another group is sent behind those in flight: for many requests, or for a renewal that
   * cannot wait.
   */
  private sendsAnother(inFlight: GroupsInFlight): boolean {
    return (
      (inFlight.takesAnother && this.requests.queue.size >= WORTH_A_GROUP) ||
      (inFlight.takesOverdue && this.isRenewalOverdue)
    );
  }

  /**
   * On a busy event loop the answers to the group in flight may lie in the socket for a turn, and
   * the answers to a renewal that waits for that group for one turn more. So a renewal that has
   * waited for one more turn goes out behind the group in flight.
   */
  private get isRenewalOverdue(): boolean {
    const request = this.requests.queue.nextRenewal;
    if (request?.kind !== 'renew') return false;
    return request.heldValidity.remaining(this.clock) < OVERDUE_SHARE * request.leaseTime;
  }

  private onWritten(
    session: Session,
    group: CommitGroup,
    info: ReplicationInfo | undefined,
    offsetBefore: number,
  ): void {
    const why = whyUnusable(session, info);
    const hasWritten = group.requests.some((request) => request.stage === 'written');
    if (why !== undefined) session.end(why);
    else if (hasWritten && info !== undefined && info.lines.length > 0 && info.offset <= offsetBefore) {
      session.end(hiddenOffset(session));
    } else if (!this.requests.queue.isEmpty) this.pump();
  }

  /** `hasCounted`: WAIT itself counted as many replicas as the group needed. */
  private onCompleted(
    state: Attached,
    group: CommitGroup,
    info: ReplicationInfo | undefined,
    linkAnswer: Reply,
    hasCounted: boolean,
  ): void {
    const { session, view, inFlight } = state;
    const why = whyUnusable(session, info);
    if (why !== undefined || info === undefined) {
      session.end(why);
      return;
    }
    view.observe(info, linkAnswer, this.clock.monotonic());
    const decided = this.requests.decide(session, view);
    // A group whose WAIT was ended for the next group says little about how far the replicas are.
    if (decided > 0 || group.requests.length > 0 || group.isFollowed) this.pauseTime = FIRST_GROUP_PAUSE;
    if (decided > 0 || !this.requests.hasPending || !inFlight.isEmpty) this.pump();
    else this.pause(state, hasCounted);
  }

  /**
   * Waits before the next group, because the last group decided nothing. `hasCounted`: WAIT counted
   * enough replicas for our script. But another client wrote between the script and INFO, so the
   * offset of the group is larger. A further WAIT would return at once: it looks only at the last
   * write of this connection, and would not ask the replicas for the larger offset. So the pending
   * requests are sent, and written, again.
   */
  private pause(state: Attached, hasCounted: boolean): void {
    state.endPause = this.clock.after(this.pauseTime, () => {
      state.endPause = undefined;
      if (hasCounted) this.requests.requeuePending();
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
