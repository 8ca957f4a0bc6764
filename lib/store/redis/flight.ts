import type { Clock } from '../clock.js';
import type { Round, RoundListener } from './round.js';
import type { Session } from './session.js';

/** ms that a WAIT may block: as long as somebody can end it from outside, or one tick of the server's clock. */
const SLICE = 1_000;
const SLICE_WITHOUT_UNBLOCK = 100;
/** ms that a WAIT blocks before a new arrival ends it. */
const UNBLOCK_AFTER = 2;

/**
 * The rounds that are out on the commit connection of one session, oldest first. While one of them blocks in its WAIT the next may be sent:
 * the server runs its scripts as soon as that WAIT ends, while this process is still busy with what the first one brought.
 */
export class Flight {
  private readonly out: Round[] = [];
  private stopUnblockClock: (() => void) | undefined;

  constructor(
    private readonly session: Session,
    private readonly clock: Clock,
  ) {}

  get isEmpty(): boolean {
    return this.out.length === 0;
  }

  /** One is out, and blocks: a second can be sent behind it, unless that would wait for the server's tick. */
  get takesAnother(): boolean {
    return this.session.canUnblock && this.out.length === 1 && this.out[0]!.offset !== undefined;
  }

  /** The master's offset behind what the last of them wrote; 0 where that is not known. */
  get offset(): number {
    return this.out.at(-1)?.offset ?? 0;
  }

  /** Sends a round; `need` replicas end its WAIT early. Nothing is heard of it once the flight was ended. */
  send(round: Round, need: number, listener: RoundListener): void {
    this.endWaitSoon();
    this.out.push(round);
    const isOut = (): boolean => this.out.includes(round);
    round.send(this.session, need, this.session.canUnblock ? SLICE : SLICE_WITHOUT_UNBLOCK, {
      onAnswer: (request, answer) => {
        if (isOut()) listener.onAnswer(request, answer);
      },
      onWritten: (info) => {
        if (!isOut()) return;
        if (round.isFollowed) this.endWaitSoon();
        listener.onWritten(info);
      },
      onClosed: (info, linkAnswer, count) => {
        if (!isOut()) return;
        this.land();
        listener.onClosed(info, linkAnswer, count);
      },
    });
  }

  /** Somebody is waiting behind all that is out: each WAIT is given a moment, then ended. */
  endWaitSoon(): void {
    for (const round of this.out) round.isFollowed = true;
    const blockedSince = this.out[0]?.writtenAt;
    if (!this.session.canUnblock || this.stopUnblockClock !== undefined || blockedSince === undefined) return;
    const blockedFor = this.clock.monotonic() - blockedSince;
    this.stopUnblockClock = this.clock.after(Math.max(0, UNBLOCK_AFTER - blockedFor), () =>
      this.session.unblockCommit(),
    );
  }

  /** Ends the WAIT that blocks, for a verdict. True where an answer is now on its way that was not before. */
  endWait(): boolean {
    const [round] = this.out;
    if (round === undefined || round.isEnding || !this.session.canUnblock) return false;
    round.isEnding = true;
    this.session.unblockCommit();
    return true;
  }

  /** The session has ended, or is left: what is out is answered to nobody. */
  end(): void {
    this.out.length = 0;
    this.stopClock();
  }

  /** The oldest has its last answer. */
  private land(): void {
    this.out.shift();
    this.stopClock();
  }

  private stopClock(): void {
    this.stopUnblockClock?.();
    this.stopUnblockClock = undefined;
  }
}
