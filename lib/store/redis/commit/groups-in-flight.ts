import type { Clock } from '../../../common/clock.js';
import type { Command, Reply } from '../resp.js';
import type { CommitGroup, CommitGroupListener } from './commit-group.js';
import { isUnblocked, type Session } from '../connection/session.js';
import { UnblockRules } from './unblock-rules.js';

/**
 * A slice: the ms that one WAIT may block at most. Without CLIENT UNBLOCK the slice is short: one
 * tick of the server's clock.
 */
const SLICE = 1_000;
const SLICE_WITHOUT_UNBLOCK = 100;
/** The most groups in flight: one, a second for many requests, a third for overdue renewals. */
const MOST_GROUPS = 3;
/** ms that a WAIT blocks before a new arrival ends it. */
const UNBLOCK_AFTER = 2;

/**
 * The groups in flight on the commit connection of one session, oldest first. While the first group
 * blocks in its WAIT, a second group may be sent. The server then runs the scripts of the second
 * group as soon as the WAIT ends, while this process is still busy with the answers to the first.
 */
export class GroupsInFlight {
  private readonly groups: CommitGroup[] = [];
  private readonly unblockRules = new UnblockRules();
  /** Sends that wait until every CLIENT UNBLOCK is answered. */
  private readonly delayed: (() => void)[] = [];
  private stopUnblockTimer: (() => void) | undefined;

  constructor(
    private readonly session: Session,
    private readonly clock: Clock,
  ) {}

  get isEmpty(): boolean {
    return this.groups.length === 0;
  }

  /**
   * Whether another group may be sent for an overdue renewal: 1 or 2 groups are in flight, and
   * CLIENT UNBLOCK is allowed and answered.
   */
  get takesOverdue(): boolean {
    const { length } = this.groups;
    return this.session.canUnblock && length > 0 && length < MOST_GROUPS && this.unblockRules.maySend;
  }

  /** As `takesOverdue`, for any request: exactly one group is in flight, and blocked in WAIT. */
  get takesAnother(): boolean {
    return this.takesOverdue && this.groups.length === 1 && this.groups[0]!.offset !== undefined;
  }

  /** The master's offset behind the writes of the last group; 0 if the offset is not known. */
  get offset(): number {
    return this.groups.at(-1)?.offset ?? 0;
  }

  /** Sends a group; `need` replicas end its WAIT early. Emits no event after `end()`. */
  send(group: CommitGroup, need: number, listener: CommitGroupListener): void {
    this.endWaitSoon();
    this.groups.push(group);
    const isInFlight = (): boolean => this.groups.includes(group);
    this.whenAllowed(() => {
      if (!isInFlight()) return;
      this.unblockRules.sent();
      group.send(this.session, need, this.session.canUnblock ? SLICE : SLICE_WITHOUT_UNBLOCK, {
        onAnswer: (request, answer) => {
          if (isInFlight()) listener.onAnswer(request, answer);
        },
        onWritten: (info) => {
          if (!isInFlight()) return;
          this.unblockRules.began();
          if (group.isFollowed) this.scheduleUnblock();
          listener.onWritten(info);
        },
        onWaited: (count) => {
          if (isInFlight()) this.unblockRules.ended(isUnblocked(count));
        },
        onCompleted: (info, linkAnswer, count) => {
          if (!isInFlight()) return;
          this.removeOldest();
          listener.onCompleted(info, linkAnswer, count);
        },
      });
    });
  }

  /** Sends commands behind all groups in flight, and ends their WAITs. */
  ask(commands: readonly Command[]): Promise<Reply[]> {
    this.endWaitSoon();
    return new Promise((resolve, reject) => {
      this.whenAllowed(() => void this.session.askCommit(commands).then(resolve, reject));
    });
  }

  /**
   * Commands wait behind the groups in flight: each WAIT may block for `UNBLOCK_AFTER`, then is
   * ended.
   */
  endWaitSoon(): void {
    for (const group of this.groups) group.isFollowed = true;
    this.scheduleUnblock();
  }

  /**
   * Ends the WAIT that blocks, for a verdict. False if no WAIT blocks, or its end is on the way
   * already.
   */
  endWait(): boolean {
    const [group] = this.groups;
    if (group === undefined || group.isEnding || !this.session.canUnblock) return false;
    group.isEnding = true;
    if (this.unblockRules.mayUnblock) this.unblock();
    else this.endWaitSoon();
    return true;
  }

  /** The session has ended: forgets the groups in flight. */
  end(): void {
    this.groups.length = 0;
    this.stopTimer();
    for (const send of this.delayed.splice(0)) send();
  }

  /** The oldest group has its last answer. */
  private removeOldest(): void {
    this.groups.shift();
    this.stopTimer();
  }

  /**
   * Ends the oldest WAIT after `UNBLOCK_AFTER` ms. A retry waits as long again as the WAIT has
   * blocked.
   */
  private scheduleUnblock(isRetry = false): void {
    const blockedSince = this.groups[0]?.writtenAt;
    if (!this.session.canUnblock || this.stopUnblockTimer !== undefined || blockedSince === undefined) return;
    const blockedFor = this.clock.monotonic() - blockedSince;
    const delay = Math.max(UNBLOCK_AFTER - blockedFor, isRetry ? blockedFor : 0);
    this.stopUnblockTimer = this.clock.after(delay, () => {
      this.stopUnblockTimer = undefined;
      if (this.unblockRules.mayUnblock) this.unblock();
    });
  }

  private unblock(): void {
    this.stopTimer();
    this.unblockRules.unblockSent();
    this.session.unblockCommit((hit) => {
      this.unblockRules.unblockAnswered(hit);
      while (this.delayed.length > 0 && this.unblockRules.maySend) this.delayed.shift()!();
      if (this.groups[0]?.isFollowed === true) this.scheduleUnblock(!hit);
    });
  }

  /** Sends now, or as soon as every CLIENT UNBLOCK is answered. */
  private whenAllowed(send: () => void): void {
    if (this.unblockRules.maySend) send();
    else this.delayed.push(send);
  }

  private stopTimer(): void {
    this.stopUnblockTimer?.();
    this.stopUnblockTimer = undefined;
  }
}
