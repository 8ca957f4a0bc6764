import type { Clock } from '../../../common/clock.js';
import { EarliestTimer } from '../../../common/earliest-timer.js';
import type { Whole } from '../../../common/whole.js';
import {
  RELEASE_ALLOWANCE,
  tombstoneTimeOf,
  type HeldKeys,
  type ReleaseOutcome,
  type Unavailable,
} from '../../lock-store.js';
import { IntrusiveSet, NO_INDEX } from '../../../common/intrusive-set.js';
import { batchesOf, type Batch } from '../scripts/script-batches.js';
import { ErrorReply, type Reply } from '../resp.js';
import { redirectionOf } from '../connection/redirection.js';
import { mayBlameOne, meaningOf, refusedBy } from '../connection/error-replies.js';
import type { LockPart } from '../lock-part.js';
import { scriptsFor } from '../scripts/lock-scripts.js';
import type { SlotOwnership } from './slot-ownership.js';
import type { Session } from '../connection/session.js';
import { Release, type ReleaseRequest } from './release.js';

/** ms between two tries while the server refuses, and between two checks for overdue releases. */
const REFUSED_RETRY_TIME = 1_000;
/**
 * The smallest number of ms between two checks: thousands of releases may become overdue one after
 * the other.
 */
const SHORTEST_CHECK_TIME = 20;
/**
 * The most releases and keys of one pipeline, which is cut into runs of the script: see `batchesOf`
 * for the most calls and keys of a run. This process needs 1 to 2 ms to send and to answer so
 * many, and Redis needs less.
 */
const PIPELINE_SIZE = 128;
const PIPELINE_KEYS = 1_024;
/**
 * The number of unanswered releases from which on no pipeline is sent: while this process reads the
 * answers to one pipeline, the server runs another.
 */
const MOST_IN_FLIGHT = 2 * PIPELINE_SIZE;

/** The options of the store that concern releases. */
export interface ReleaseSettings {
  /** ms that a confirmation may take. */
  readonly replicaTimeout: number;
  /** ms by which a key outlives the lease. */
  readonly clockSkew: number;
}

/**
 * Releases and take-backs of one master. Each is sent at once on the control connection, and again
 * on every new one, until the server has answered or the keys must have expired. All releases of
 * one turn of the event loop travel in pipelines. The next pipeline is sent when an earlier one is
 * answered. In a Cluster an outbox that never gets a session keeps the releases whose slot has no
 * master. Such an outbox sends nothing: each release is handed to the slot's new master, or answered
 * `unavailable` when its time is up.
 *
 * A release that was sent again because its answer was lost counts as done, whatever the second
 * answer says. The lease was valid at the time of the release. If another owner holds the key by
 * now, most likely the first try had freed it. To call that a loss would fail work that was done
 * under a held lock.
 */
export class ReleaseOutbox {
  private session: Session | undefined;
  private readonly unanswered = new IntrusiveSet<'index', Release>('index');
  private toSend: Release[] = [];
  /** Releases that the server refused for now. */
  private toRetry: Release[] = [];
  private retryAt = 0;
  /** How many releases were sent in this session and have no answer. */
  private inFlight = 0;
  /** The monotonic instant of the server's last answer to a release. */
  private answeredAt = -Infinity;
  private scheduled = false;
  private readonly answerWithin: number;
  private readonly tombstone: number;
  private readonly checks: EarliestTimer;
  private onIdle: () => void = () => {};
  private closed: Unavailable | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly settings: ReleaseSettings,
    private readonly ownership?: Omit<SlotOwnership, 'mayGrant'>,
  ) {
    this.answerWithin = settings.replicaTimeout + RELEASE_ALLOWANCE;
    this.tombstone = tombstoneTimeOf(settings.clockSkew);
    // A process that was busy reads the answers in its sockets before a caller hears that no answer
    // came.
    this.checks = new EarliestTimer(clock, () => clock.afterTurn(() => this.checkOverdue()));
  }

  /** Releases the part of the lock, or keeps the keys busy for `cooldown` ms without a holder. */
  release(lock: HeldKeys, { keys, slot }: LockPart, cooldown: number): Promise<ReleaseOutcome> {
    const { owner, limit, token, leaseTime } = lock;
    const scripts = scriptsFor(limit);
    const leaseLeft = Math.max(leaseTime, cooldown) + this.settings.clockSkew;
    return this.add({ keys, slot, scripts, owner, token, cooldown }, leaseLeft);
  }

  /**
   * Resolves to the answer of Redis, or in time to `unavailable`. Even then the release is sent
   * again while one of the keys can live: for `leaseLeft` ms.
   */
  add(request: Whole<ReleaseRequest>, leaseLeft: number): Promise<ReleaseOutcome> {
    if (this.closed !== undefined) return Promise.resolve(this.closed);
    return new Promise((settle) => {
      const now = this.clock.monotonic();
      this.enqueue(
        new Release(request, now, now + this.answerWithin, now + leaseLeft, this.tombstone, settle),
      );
    });
  }

  /** Takes a release that another master was asked first, or whose slot had no master. */
  takeOver(release: Release): void {
    // The other master's refusal says nothing about this one.
    release.refused = undefined;
    this.enqueue(release);
  }

  private enqueue(release: Release): void {
    if (this.closed !== undefined) {
      release.settle(this.closed);
      return;
    }
    if (this.ownership?.owns(release.slot) === false) {
      this.ownership.handOver(release);
      return;
    }
    const now = this.clock.monotonic();
    release.queuedAt = now;
    this.unanswered.add(release);
    this.toSend.push(release);
    this.checks.noLaterThan(Math.min(now + REFUSED_RETRY_TIME, release.answerBy));
    this.schedule();
  }

  /** Hands over the waiting releases whose slot belongs to another master. */
  onSlotsMoved(): void {
    if (this.ownership === undefined) return;
    this.toSend = this.ownOf(this.toSend);
    for (const release of this.ownOf(this.toRetry.splice(0))) this.toRetry.push(release);
  }

  get isIdle(): boolean {
    return this.unanswered.size === 0;
  }

  attach(session: Session): void {
    this.session = session;
    this.inFlight = 0;
    this.retry();
  }

  detach(): void {
    this.session = undefined;
  }

  /**
   * Resolves once every release is answered, or if no answer comes for as many ms as are left until
   * the monotonic instant `until` at the call.
   */
  async whenIdle(until: number): Promise<void> {
    const patience = Math.max(0, until - this.clock.monotonic());
    while (this.unanswered.size > 0) {
      const left = Math.max(until, this.answeredAt + patience) - this.clock.monotonic();
      if (left <= 0) return;
      await new Promise<void>((resolve) => {
        const stopTimer = this.clock.after(left, resolve);
        this.onIdle = () => {
          stopTimer();
          resolve();
        };
      });
    }
  }

  /** Answers every release that is left with `unavailable`. */
  close(unavailable: Unavailable): void {
    this.closed = unavailable;
    this.checks.stop();
    this.session = undefined;
    this.toSend = [];
    this.toRetry = [];
    for (const release of this.unanswered) this.answer(release, unavailable);
  }

  // --- sending

  private schedule(): void {
    if (this.scheduled || this.session === undefined) return;
    this.scheduled = true;
    process.nextTick(() => {
      this.scheduled = false;
      this.pump();
    });
  }

  private pump(): void {
    while (this.session?.isLive === true && this.inFlight < MOST_IN_FLIGHT && this.toSend.length > 0) {
      const pipeline = this.nextPipeline();
      for (const batch of batchesOf(pipeline)) void this.send(this.session, batch);
    }
  }

  private nextPipeline(): Release[] {
    let count = 0;
    let keys = 0;
    while (count < Math.min(PIPELINE_SIZE, this.toSend.length) && keys < PIPELINE_KEYS)
      keys += this.toSend[count++]!.keys.length;
    const pipeline = this.ownOf(this.toSend.splice(0, count));
    const now = this.clock.monotonic();
    for (const release of pipeline) {
      const { cooldownUntil } = release;
      if (cooldownUntil !== undefined) release.cooldown = Math.max(0, Math.ceil(cooldownUntil - now));
      // The caller's time starts now if earlier releases were being answered.
      if (!release.wasSent && this.answeredAt > release.queuedAt) release.answerBy = now + this.answerWithin;
      release.wasSent = true;
    }
    return pipeline;
  }

  /**
   * Sends each batch by itself: while the server runs the next batch, the callers of this batch go
   * on and send their next locks.
   */
  private async send(session: Session, batch: Batch<Release>): Promise<void> {
    const { scripts, items } = batch;
    this.inFlight += items.length;
    const command = session.groupCommand(scripts.release, items);
    const [reply] = await session.askControl([command]).catch(() => []);
    if (this.session === session) this.inFlight -= items.length;
    this.onReply(session, batch, reply);
    this.pump();
  }

  private onReply(session: Session, batch: Batch<Release>, reply: Reply | undefined): void {
    const { scripts, items } = batch;
    if (Array.isArray(reply)) {
      this.answeredAt = this.clock.monotonic();
      items.forEach((release, index) => {
        const ours = scripts.release.decode(reply[index]) || release.mayHaveRun;
        this.answer(release, { kind: 'released', ours });
      });
    } else if (reply === undefined) {
      for (const release of items) release.mayHaveRun = true;
      this.sendAgain(items);
    } else {
      this.onRefused(session, batch, reply instanceof ErrorReply ? reply : unexpected(reply));
    }
  }

  private onRefused(session: Session, { scripts, items }: Batch<Release>, error: ErrorReply): void {
    if (error.code === 'NOSCRIPT') {
      session.forgetScript(scripts.release);
      this.sendAgain(items);
      return;
    }
    const meaning = meaningOf(error);
    const redirection = this.ownership && redirectionOf(error);
    if (!meaning.unwritten) for (const release of items) release.mayHaveRun = true;
    if (items.length > 1 && mayBlameOne(error)) {
      for (const release of items) release.isAlone = true;
      this.sendAgain(items);
    } else {
      const refused = refusedBy(session.address, error);
      for (const release of items) {
        if (meaning.permanent) this.answer(release, refused);
        else {
          // After MOVED the release goes to the slot's new master, so the caller is not told of this
          // refusal.
          if (redirection?.kind !== 'moved') release.refused = refused;
          this.toRetry.push(release);
        }
      }
    }
    if (redirection !== undefined) {
      this.ownership?.onRedirection(redirection);
      this.onSlotsMoved();
    }
    if (meaning.reconnect === true) session.end(new Error(error.message));
  }

  private sendAgain(batch: readonly Release[]): void {
    const open = batch.filter((release) => release.index !== NO_INDEX);
    // Without a session none of them is sent, so those whose slot has moved are handed over here.
    for (const release of this.session === undefined ? this.ownOf(open) : open) this.toSend.push(release);
    this.schedule();
  }

  private retry(): void {
    this.retryAt = this.clock.monotonic() + REFUSED_RETRY_TIME;
    this.sendAgain(this.toRetry.splice(0));
  }

  // --- ends

  private answer(release: Release, outcome: ReleaseOutcome): void {
    release.settle(outcome);
    this.forget(release);
  }

  private forget(release: Release): void {
    this.unanswered.delete(release);
    if (this.unanswered.size === 0) this.onIdle();
  }

  /** Returns the releases whose slot belongs to this master, and hands over the others. */
  private ownOf(releases: Release[]): Release[] {
    const { ownership } = this;
    if (ownership === undefined) return releases;
    return releases.filter((release) => {
      if (ownership.owns(release.slot)) return true;
      this.unanswered.delete(release);
      ownership.handOver(release);
      if (this.unanswered.size === 0) this.onIdle();
      return false;
    });
  }

  /**
   * Answers overdue releases, forgets releases whose keys have expired, and sends refused releases
   * again.
   */
  private checkOverdue(): void {
    const now = this.clock.monotonic();
    const answersUntil = this.session === undefined ? -Infinity : this.answeredAt + this.answerWithin;
    let nextCheck = REFUSED_RETRY_TIME;
    for (const release of this.unanswered) {
      // A release that waits behind others is not overdue while those are answered.
      const answerBy = release.wasSent ? release.answerBy : Math.max(release.answerBy, answersUntil);
      if (answerBy > now) nextCheck = Math.min(nextCheck, answerBy - now);
      if (answerBy > now && release.until > now) continue;
      release.answerBy = Infinity;
      const outcome = this.whyUnanswered(release);
      if (release.until > now) release.settle(outcome);
      else this.answer(release, outcome);
    }
    this.toSend = this.toSend.filter((release) => release.until > now);
    this.toRetry = this.toRetry.filter((release) => release.until > now);
    if (this.unanswered.size > 0) this.checks.noLaterThan(now + Math.max(SHORTEST_CHECK_TIME, nextCheck));
    if (this.retryAt <= now) this.retry();
    else this.schedule();
  }

  private whyUnanswered({ refused, slot }: Release): Unavailable {
    const why = this.ownership?.whyUnserved(slot) ?? refused;
    const reason = why?.reason ?? `Redis did not answer the release within ${this.answerWithin} ms.`;
    return {
      kind: 'unavailable',
      ...why,
      reason: `${reason} The release is sent again until the lease has passed.`,
    };
  }
}

function unexpected(reply: Reply): ErrorReply {
  return new ErrorReply(`ERR unexpected reply ${String(reply)}`);
}
