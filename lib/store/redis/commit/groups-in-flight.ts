import type { Clock } from '../../../common/clock.js';
import type { Command, Reply } from '../resp.js';
import type { CommitGroup, CommitGroupListener } from './commit-group.js';
import { isUnblocked, type Session } from '../connection/session.js';
import { WaitEnding } from './wait-ending.js';

/** ms that a WAIT may block: as long as it can be ended from outside, or one tick of the server's clock. */
const SLICE = 1_000;
const SLICE_WITHOUT_UNBLOCK = 100;
/** ms that a WAIT blocks before a new arrival ends it. */
const UNBLOCK_AFTER = 2;

/**
 * The groups that are in flight on the commit connection of one session, oldest first. While one of them blocks in its WAIT the next may be sent:
 * the server runs its scripts as soon as that WAIT ends, while this process is still busy with what the first one brought.
 */
export class GroupsInFlight {
  private readonly out: CommitGroup[] = [];
  private readonly waits = new WaitEnding();
  /** What is to be sent as soon as no CLIENT UNBLOCK is unanswered. */
  private readonly held: (() => void)[] = [];
  private stopUnblockClock: (() => void) | undefined;

  constructor(
    private readonly session: Session,
    private readonly clock: Clock,
  ) {}

  get isEmpty(): boolean {
    return this.out.length === 0;
  }

  /**
   * True if exactly one group is out, and CLIENT UNBLOCK is allowed and not under way. Otherwise a
   * second group would wait out the whole slice, or the answer to the UNBLOCK.
   */
  get mayTakeAnother(): boolean {
    return this.session.canUnblock && this.out.length === 1 && this.waits.maySend;
  }

  /** The same, and that group is blocked in WAIT. */
  get takesAnother(): boolean {
    return this.mayTakeAnother && this.out[0]!.offset !== undefined;
  }

  /** The master's offset behind what the last of them wrote; 0 where that is not known. */
  get offset(): number {
    return this.out.at(-1)?.offset ?? 0;
  }

  /** Sends a group; `need` replicas end its WAIT early. Nothing is heard of it after `end()`. */
  send(group: CommitGroup, need: number, listener: CommitGroupListener): void {
    this.endWaitSoon();
    this.out.push(group);
    const isOut = (): boolean => this.out.includes(group);
    this.whenAllowed(() => {
      if (!isOut()) return;
      this.waits.sent();
      group.send(this.session, need, this.session.canUnblock ? SLICE : SLICE_WITHOUT_UNBLOCK, {
        onAnswer: (request, answer) => {
          if (isOut()) listener.onAnswer(request, answer);
        },
        onWritten: (info) => {
          if (!isOut()) return;
          this.waits.began();
          if (group.isFollowed) this.scheduleUnblock();
          listener.onWritten(info);
        },
        onWaited: (count) => {
          if (isOut()) this.waits.ended(isUnblocked(count));
        },
        onClosed: (info, linkAnswer, count) => {
          if (!isOut()) return;
          this.removeOldest();
          listener.onClosed(info, linkAnswer, count);
        },
      });
    });
  }

  /** Asks something behind all that is out, and ends the WAITs before it. */
  ask(commands: readonly Command[]): Promise<Reply[]> {
    this.endWaitSoon();
    return new Promise((resolve, reject) => {
      this.whenAllowed(() => void this.session.askCommit(commands).then(resolve, reject));
    });
  }

  /** Something waits behind all that is out: each WAIT is given a moment, then ended. */
  endWaitSoon(): void {
    for (const group of this.out) group.isFollowed = true;
    this.scheduleUnblock();
  }

  /** Ends the WAIT that blocks, for a verdict. True where an answer is now on its way that was not before. */
  endWait(): boolean {
    const [group] = this.out;
    if (group === undefined || group.isEnding || !this.session.canUnblock) return false;
    group.isEnding = true;
    if (this.waits.mayUnblock) this.unblock();
    else this.endWaitSoon();
    return true;
  }

  /** The session has ended: what is out is answered to nobody. */
  end(): void {
    this.out.length = 0;
    this.stopClock();
    for (const send of this.held.splice(0)) send();
  }

  /** The oldest has its last answer. */
  private removeOldest(): void {
    this.out.shift();
    this.stopClock();
  }

  /** Ends the oldest WAIT once it has blocked for long enough; a retry waits as long again. */
  private scheduleUnblock(isRetry = false): void {
    const blockedSince = this.out[0]?.writtenAt;
    if (!this.session.canUnblock || this.stopUnblockClock !== undefined || blockedSince === undefined) return;
    const blockedFor = this.clock.monotonic() - blockedSince;
    const delay = Math.max(UNBLOCK_AFTER - blockedFor, isRetry ? blockedFor : 0);
    this.stopUnblockClock = this.clock.after(delay, () => {
      this.stopUnblockClock = undefined;
      if (this.waits.mayUnblock) this.unblock();
    });
  }

  private unblock(): void {
    this.stopClock();
    this.waits.unblockSent();
    this.session.unblockCommit((hit) => {
      this.waits.unblockAnswered(hit);
      while (this.held.length > 0 && this.waits.maySend) this.held.shift()!();
      if (this.out[0]?.isFollowed === true) this.scheduleUnblock(!hit);
    });
  }

  /** Sends now, or once no CLIENT UNBLOCK is unanswered. */
  private whenAllowed(send: () => void): void {
    if (this.waits.maySend) send();
    else this.held.push(send);
  }

  private stopClock(): void {
    this.stopUnblockClock?.();
    this.stopUnblockClock = undefined;
  }
}
