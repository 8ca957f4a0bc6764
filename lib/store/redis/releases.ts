import type { Clock } from '../clock.js';
import type { ReleaseOutcome, Unavailable } from '../lock-store.js';
import { NO_PLACE, Roster } from '../roster.js';
import { batchesOf } from './batches.js';
import { ErrorReply } from './connection.js';
import { redirectionOf } from './redirection.js';
import { meaningOf, refusedBy } from './refusal.js';
import type { Route } from './route.js';
import { releaseScript, type ReleaseCall } from './scripts/release.js';
import type { Session } from './session.js';

/** ms between two tries where the server answered that it cannot for now, and between two looks for what is overdue. */
const RETRY_TIME = 1_000;

/** One on its way. */
export interface Release extends ReleaseCall {
  /** The hash slot of its keys; undefined where there is no Cluster. */
  readonly slot: number | undefined;
  /** The monotonic instant at which the caller is told that no answer came. */
  readonly answerBy: number;
  /** The monotonic instant after which nothing can be left to release. */
  readonly until: number;
  readonly settle: (outcome: ReleaseOutcome) => void;
  /** Where it stands among those without an answer. */
  place: number;
}

/**
 * Releases and take-backs of one master: sent at once on the control connection, and again on each new one, until they were
 * answered or the keys must have expired. All that come up in one turn of the event loop travel together.
 */
export class Releases {
  private session: Session | undefined;
  /** All that have no answer yet; those of them that are to be sent (again). */
  private readonly unanswered = new Roster<'place', Release>('place');
  private toSend: Release[] = [];
  private scheduled = false;
  private stopLooking: (() => void) | undefined;
  private onIdle: () => void = () => {};
  private closed: Unavailable | undefined;

  constructor(
    private readonly clock: Clock,
    /** ms within which the caller hears something. */
    private readonly answerWithin: number,
    private readonly route?: Route,
  ) {}

  /** Answers what Redis said, or `unavailable` in time; it goes on being sent while one of the keys can live, `leaseLeft` ms. */
  add(call: ReleaseCall, slot: number | undefined, leaseLeft: number): Promise<ReleaseOutcome> {
    if (this.closed !== undefined) return Promise.resolve(this.closed);
    return new Promise((settle) => {
      const now = this.clock.monotonic();
      const { keys, owner, keepFor } = call;
      const answerBy = now + this.answerWithin;
      this.adopt({ keys, owner, keepFor, slot, answerBy, until: now + leaseLeft, settle, place: NO_PLACE });
    });
  }

  /** Sends one that another master was asked first. */
  adopt(release: Release): void {
    if (this.closed !== undefined) {
      release.settle(this.closed);
      return;
    }
    if (this.route?.owns(release.slot) === false) {
      this.route.rehome(release);
      return;
    }
    this.unanswered.add(release);
    this.toSend.push(release);
    this.stopLooking ??= this.clock.after(RETRY_TIME, () => this.look());
    this.schedule();
  }

  /** Gives away what waits to be sent in slots that belong to another master. */
  reroute(): void {
    const { route } = this;
    if (route === undefined) return;
    const gone = this.toSend.filter((release) => !route.owns(release.slot));
    if (gone.length === 0) return;
    this.toSend = this.toSend.filter((release) => route.owns(release.slot));
    for (const release of gone) {
      this.forget(release);
      route.rehome(release);
    }
  }

  get isIdle(): boolean {
    return this.unanswered.size === 0;
  }

  attach(session: Session): void {
    this.session = session;
    this.schedule();
  }

  detach(): void {
    this.session = undefined;
  }

  /** Resolves as soon as every release has its answer. */
  async idle(): Promise<void> {
    if (this.unanswered.size > 0) await new Promise<void>((resolve) => (this.onIdle = resolve));
  }

  /** Gives up what is left. */
  close(unavailable: Unavailable): void {
    this.closed = unavailable;
    this.stopLooking?.();
    this.session = undefined;
    this.toSend = [];
    for (const release of this.unanswered) this.answer(release, unavailable);
  }

  private schedule(): void {
    if (this.scheduled || this.session === undefined) return;
    this.scheduled = true;
    process.nextTick(() => {
      this.scheduled = false;
      this.reroute();
      const { session } = this;
      if (session === undefined) return;
      for (const batch of batchesOf(this.toSend.splice(0))) void this.send(session, batch);
    });
  }

  private async send(session: Session, batch: Release[]): Promise<void> {
    const command = session.groupCommand(releaseScript, batch);
    const [reply] = await session.askControl([command]).catch(() => []);
    if (Array.isArray(reply)) {
      batch.forEach((release, index) => this.answer(release, { kind: 'released', ours: reply[index] === 1 }));
    } else if (reply instanceof ErrorReply && meaningOf(reply).permanent) {
      for (const release of batch) this.answer(release, refusedBy(session.address, reply));
    } else {
      this.toSend.push(...batch);
      const redirection = this.route && redirectionOf(reply);
      if (redirection !== undefined) {
        this.route?.redirected(redirection);
        this.reroute();
      } else if (!(reply instanceof ErrorReply)) this.schedule();
      else if (reply.code === 'NOSCRIPT') {
        session.forgetScript(releaseScript);
        this.schedule();
      } else if (meaningOf(reply).reconnect === true) session.end(new Error(reply.message));
    }
  }

  private answer(release: Release, outcome: ReleaseOutcome): void {
    release.settle(outcome);
    this.forget(release);
  }

  private forget(release: Release): void {
    this.unanswered.delete(release);
    if (this.unanswered.size === 0) this.onIdle();
  }

  /** Tells callers whose time is up, forgets what has expired, and sends again what the server refused for a while. */
  private look(): void {
    const now = this.clock.monotonic();
    let nextLook = RETRY_TIME;
    for (const release of this.unanswered) {
      if (release.answerBy > now) nextLook = Math.min(nextLook, release.answerBy - now);
      if (release.answerBy > now && release.until > now) continue;
      const unanswered = {
        kind: 'unavailable',
        reason: `Redis did not answer the release within ${this.answerWithin} ms. It is sent again until the lease has passed.`,
      } as const;
      if (release.until > now) release.settle(unanswered);
      else this.answer(release, unanswered);
    }
    this.toSend = this.toSend.filter((release) => release.until > now);
    this.stopLooking = this.unanswered.size > 0 ? this.clock.after(nextLook, () => this.look()) : undefined;
    this.schedule();
  }
}
