type Wait =
  /**
   * The scripts of the group or the INFO behind them are unanswered: the WAIT may not have begun.
   */
  | 'ahead'
  /** The INFO was answered: nothing before the WAIT is left to run. */
  | 'open'
  /** A CLIENT UNBLOCK has ended the WAIT, whose answer is on the way. */
  | 'hit';

type Unblock =
  | 'none'
  /** Sent for the oldest WAIT, and unanswered. */
  | 'sent'
  /** The oldest WAIT has meanwhile answered UNBLOCKED. */
  | 'used'
  /** The oldest WAIT has meanwhile ended by itself: the UNBLOCK ends the next WAIT, or nothing. */
  | 'late';

/**
 * Says when CLIENT UNBLOCK may be sent to end a WAIT, and when other commands may be sent.
 *
 * CLIENT UNBLOCK ends whatever blocks the commit connection when it arrives. That may be a script
 * that CLIENT PAUSE holds back; FAILOVER, CLUSTER FAILOVER and SHUTDOWN pause writes as well.
 * Without ERROR such an UNBLOCK ends the whole server (Redis 7.0 to 8.0, Valkey 8). With ERROR the
 * script answers UNBLOCKED, and Redis 7.0 still runs the script later. Hence three rules:
 *
 * 1. UNBLOCK is sent only for a WAIT that is open. No script of its own group can be paused then.
 * 2. One UNBLOCK at a time, and no second UNBLOCK for a WAIT that an UNBLOCK has ended.
 * 3. Nothing is sent on the commit connection while an UNBLOCK is unanswered. So an UNBLOCK that
 *    comes too late for its WAIT finds no script that was sent after that UNBLOCK.
 *
 * A risk remains. A second group, or a check of owners, was sent behind the WAIT before the
 * UNBLOCK, the WAIT ends by itself while the UNBLOCK is on its way, and the server has just been
 * paused. Then that script answers UNBLOCKED, and the session ends: see `Session.sendCommit`.
 *
 * The server answers 1 if the UNBLOCK ended a command, and 0 if no command blocked the connection:
 * the WAIT has ended, or has not begun because the network delivered the group in two pieces.
 */
export class UnblockRules {
  /** The unanswered WAITs, oldest first. */
  private readonly waits: Wait[] = [];
  private unblock: Unblock = 'none';

  /** A group was sent. */
  sent(): void {
    this.waits.push('ahead');
  }

  /** The oldest group's first INFO was answered. */
  began(): void {
    if (this.waits[0] === 'ahead') this.waits[0] = 'open';
  }

  /** The oldest WAIT was answered. */
  ended(byUnblock: boolean): void {
    this.waits.shift();
    if (this.unblock === 'sent') this.unblock = byUnblock ? 'used' : 'late';
  }

  unblockSent(): void {
    this.unblock = 'sent';
  }

  unblockAnswered(hit: boolean): void {
    if (hit && this.unblock !== 'used' && this.waits.length > 0) this.waits[0] = 'hit';
    this.unblock = 'none';
  }

  get mayUnblock(): boolean {
    return this.waits[0] === 'open' && this.unblock === 'none';
  }

  get maySend(): boolean {
    return this.unblock === 'none';
  }
}
