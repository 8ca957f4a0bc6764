import type { Clock } from '../../../common/clock.js';
import type { Connection } from './connection.js';
import { ConnectionEnd } from './connection-end.js';
import type { Command, Reply } from '../resp.js';
import { EarliestTimer } from '../../../common/earliest-timer.js';

/** ms that a silent server has after the limit has passed: see `MonitoredConnection`. */
const LAST_CHANCE = 100;

export interface MonitorTimes {
  /**
   * ms that the server may be silent if an answer is due. `Session` has the limits of the
   * connections to a master.
   */
  readonly silenceLimit: number;
  /** ms without any traffic after which PING is sent; Infinity if never. */
  readonly pingAfter: number;
}

/**
 * A connection that ends if the server falls silent.
 *
 * A server is silent if an answer is due and nothing at all has come over this connection for the
 * limit. The limit counts from the oldest unanswered command, or from the last answer if that is
 * later. A slow server that works off a long queue is not silent. WAIT may take the time of its
 * own timeout in addition.
 *
 * A process that was busy for longer than the limit has not read the sockets. The answer may lie
 * in the socket, or the command may not even have left the process. So two more conditions must
 * hold before the connection ends. Nothing comes for 100 ms after the limit, and nothing comes in
 * one more turn of the event loop.
 *
 * PING is sent on an idle connection. So neither the server (`timeout` in redis.conf) nor a
 * firewall drops the connection. And a host that died silently is noticed before the next lock
 * needs the connection.
 */
export class MonitoredConnection implements Connection {
  private readonly ending = new ConnectionEnd();
  private readonly timer: EarliestTimer;
  private unanswered = 0;
  /** The monotonic instant of the last answer, or of the first command after an idle time. */
  private quietSince: number;
  /** ms that the next answer may take in addition, if the command is WAIT. */
  private blockingTime = 0;
  /** The `quietSince` for which the last chance was given. */
  private lastChanceFor = -Infinity;

  constructor(
    private readonly inner: Connection,
    /** The name of the server in the error that ends a silent connection. */
    private readonly name: string,
    private readonly clock: Clock,
    private readonly times: MonitorTimes,
  ) {
    this.quietSince = clock.monotonic();
    this.timer = new EarliestTimer(clock, () => this.check());
    inner.onEnd((cause) => this.end(cause));
    if (!this.ending.isReached) this.timer.noLaterThan(this.dueAt);
  }

  send(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    if (this.ending.isReached) return;
    this.asked(commands.length, blockingTimeOf(commands[0]));
    this.inner.send(commands, (reply, index) => {
      if (this.ending.isReached) return;
      this.answered(blockingTimeOf(commands[index + 1]));
      onReply(reply, index);
    });
  }

  async subscribe(channel: string, onMessage: (payload: unknown) => void): Promise<void> {
    this.asked(1, 0);
    try {
      await this.inner.subscribe(channel, (payload) => {
        if (this.ending.isReached) return;
        this.quietSince = this.clock.monotonic();
        onMessage(payload);
      });
    } finally {
      this.answered(0);
    }
  }

  onEnd(listener: (cause: unknown) => void): () => void {
    return this.ending.onEnd(listener);
  }

  close(): void {
    this.end(new Error('Connection is closed.'));
  }

  private asked(count: number, blockingTime: number): void {
    if (this.unanswered === 0) {
      this.quietSince = this.clock.monotonic();
      this.blockingTime = blockingTime;
    }
    this.unanswered += count;
    this.timer.noLaterThan(this.dueAt);
  }

  private answered(blockingTime: number): void {
    if (this.ending.isReached) return;
    this.unanswered--;
    this.quietSince = this.clock.monotonic();
    this.blockingTime = blockingTime;
    if (this.unanswered === 0) this.timer.noLaterThan(this.dueAt);
  }

  /** The monotonic instant at which a quiet connection needs attention. */
  private get dueAt(): number {
    const { silenceLimit, pingAfter } = this.times;
    return this.quietSince + (this.unanswered > 0 ? silenceLimit + this.blockingTime : pingAfter);
  }

  private check(): void {
    if (this.ending.isReached) return;
    const { dueAt } = this;
    if (dueAt > this.clock.monotonic()) this.timer.noLaterThan(dueAt);
    else if (this.unanswered === 0) this.send([['ping']], () => {});
    else if (this.lastChanceFor !== this.quietSince) {
      this.lastChanceFor = this.quietSince;
      this.timer.noLaterThan(this.clock.monotonic() + LAST_CHANCE);
    } else this.clock.afterTurn(() => this.checkAgain(dueAt));
  }

  /** One more turn of the event loop has passed since the connection was due. */
  private checkAgain(dueAt: number): void {
    if (this.ending.isReached) return;
    if (this.dueAt > dueAt) this.timer.noLaterThan(this.dueAt);
    else
      this.end(
        new Error(`${this.name} did not answer within ${this.times.silenceLimit + this.blockingTime} ms`),
      );
  }

  private end(cause: unknown): void {
    this.ending.reach(cause, () => {
      this.timer.stop();
      this.inner.close();
    });
  }
}

/** ms for which the command may block the connection. */
function blockingTimeOf(command: Command | undefined): number {
  return command?.[0] === 'wait' ? Number(command[2]) : 0;
}
