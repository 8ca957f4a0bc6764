import { beforeEach, describe, expect, it } from '@jest/globals';
import { ask, type Connection } from '../../../../lib/store/redis/connection/connection.js';
import type { Command, Reply } from '../../../../lib/store/redis/resp.js';
import { MonitoredConnection } from '../../../../lib/store/redis/connection/monitored-connection.js';
import { ManualClock } from '../../../support/manual-clock.js';

/** A connection whose answers the test gives. */
class StubConnection implements Connection {
  readonly sent: Command[] = [];
  closed = 0;
  tell: (payload: unknown) => void = () => {};
  subscribed: () => void = () => {};
  private readonly waiting: ((reply: Reply) => void)[] = [];
  private readonly endListeners: ((cause: unknown) => void)[] = [];

  send(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    this.sent.push(...commands);
    for (const index of commands.keys()) this.waiting.push((reply) => onReply(reply, index));
  }

  subscribe(_channel: string, onMessage: (payload: unknown) => void): Promise<void> {
    this.tell = onMessage;
    return new Promise((resolve) => (this.subscribed = resolve));
  }

  onEnd(listener: (cause: unknown) => void): () => void {
    this.endListeners.push(listener);
    return () => {};
  }

  close(): void {
    this.closed++;
  }

  answer(reply: Reply = 'OK'): void {
    this.waiting.shift()!(reply);
  }

  break(cause: unknown): void {
    for (const listener of this.endListeners) listener(cause);
  }
}

const SILENCE_LIMIT = 1_000;

let clock: ManualClock;
let inner: StubConnection;
let ended: unknown[];

function monitored(pingAfter = Infinity): MonitoredConnection {
  const connection = new MonitoredConnection(inner, 'The server', clock, {
    silenceLimit: SILENCE_LIMIT,
    pingAfter,
  });
  connection.onEnd((cause) => ended.push(cause));
  return connection;
}

beforeEach(() => {
  clock = new ManualClock();
  inner = new StubConnection();
  ended = [];
});

/**
 * The events on the connection, and whether the connection is open afterwards. A number is a time
 * in ms. `busy`: the event loop is blocked for 5 s. `unread`: an answer came meanwhile,
 * and is read next.
 */
type Step = number | 'busy' | 'unread' | 'answer' | readonly Command[];
const get: Command = ['get', 'key'];
const wait: Command = ['wait', 1, 500];

const cases: readonly (readonly [title: string, steps: readonly Step[], isOpen: boolean])[] = [
  ['stays open while nothing is asked', [60_000], true],
  ['stays open at the limit', [[get], 1_000], true],
  ['stays open when the answer comes at the last chance', [[get], 1_090, 'answer', 60_000], true],
  ['ends after the last chance', [[get], 1_110], false],
  ['counts from the oldest unanswered command, not from the last', [[get], 900, [get], 210], false],
  ['counts from the command that follows a quiet time', [30_000, [get], 1_090], true],
  ['counts from the last answer while more is owed', [[get, get], 900, 'answer', 1_090], true],
  ['ends when the second of two answers never comes', [[get, get], 900, 'answer', 1_110], false],
  ['gives a last chance each time', [[get, get], 1_050, 'answer', 1_090, 'answer', 60_000], true],
  ['gives WAIT its own timeout in addition', [[get, wait], 10, 'answer', 1_590], true],
  ['ends when WAIT takes longer than that', [[get, wait], 10, 'answer', 1_610], false],
  ['gives no additional time before WAIT has begun', [[get, wait], 1_110], false],
  [
    'gives no additional time after WAIT has ended',
    [[get, wait, get], 'answer', 400, 'answer', 1_110],
    false,
  ],
  ['gives WAIT its timeout if WAIT is the first command, too', [[wait], 1_590], true],
  ['stays open when the answer was in the socket of a busy process', [[get], 'busy', 'unread', 60_000], true],
  ['stays open when the question left a busy process late', [[get], 'busy', 90, 'answer', 60_000], true],
  [
    'stays open when a process is busy again before reading its sockets',
    [[get], 'busy', 50, 'busy', 'unread', 60_000],
    true,
  ],
  ['ends when a busy process hears nothing', [[get], 'busy', 110], false],
  ['ends when a process that is always busy hears nothing', [[get], 'busy', 10, 'busy', 10], false],
];

describe('A monitored connection', () => {
  it.each(cases)('%s', async (_title, steps, isOpen) => {
    const connection = monitored();
    for (const step of steps) {
      if (typeof step === 'number') await clock.advance(step);
      else if (step === 'answer') inner.answer();
      else if (step === 'busy') clock.freeze(5_000);
      else if (step === 'unread') clock.afterTurn(() => inner.answer());
      else connection.send(step, () => {});
    }
    expect(ended).toHaveLength(isOpen ? 0 : 1);
    expect(inner.closed).toBe(isOpen ? 0 : 1);
  });

  it('names the server that was silent, and for how long', async () => {
    const asked = ask(monitored(), [['get', 'key']]);
    const rejected = expect(asked).rejects.toThrow('The server did not answer within 1000 ms');
    await clock.advance(1_110);
    await rejected;
  });

  it('delivers no answer after its end', async () => {
    const replies: Reply[] = [];
    const connection = monitored();
    connection.send(
      [
        ['get', 'a'],
        ['get', 'b'],
      ],
      (reply) => {
        replies.push(reply);
        connection.close();
      },
    );
    inner.answer('first');
    inner.answer('second');
    expect(replies).toEqual(['first']);
  });

  it('passes on why the inner connection ended, and leaves no timer', () => {
    const connection = monitored(500);
    connection.send([get], () => {});
    inner.break('reset');
    expect(ended).toEqual(['reset']);
    expect(clock.timers).toBe(0);
    const late: unknown[] = [];
    connection.onEnd((cause) => late.push(cause));
    expect(late).toEqual(['reset']);
  });

  it('sends PING when idle, and not while in use', async () => {
    const connection = monitored(500);
    for (let i = 0; i < 10; i++) {
      connection.send([get], () => {});
      inner.answer();
      await clock.advance(100);
    }
    expect(inner.sent).not.toContainEqual(['ping']);
    await clock.advance(410);
    expect(inner.sent.at(-1)).toEqual(['ping']);
    inner.answer('PONG');
    await clock.advance(510);
    expect(inner.sent.slice(-2)).toEqual([['ping'], ['ping']]);
  });

  it('ends when the PING of an idle connection is not answered', async () => {
    monitored(500);
    await clock.advance(1_590);
    expect(ended).toHaveLength(0);
    await clock.advance(20);
    expect(ended).toHaveLength(1);
  });

  it('ends when a subscription is not answered, and counts messages as a sign of life', async () => {
    const connection = monitored();
    const subscribed = connection.subscribe('channel', () => {});
    connection.send([get], () => {});
    await clock.advance(900);
    inner.tell('message');
    await clock.advance(900);
    expect(ended).toHaveLength(0);
    inner.subscribed();
    await subscribed;
    inner.answer();
    await clock.advance(5_000);
    expect(ended).toHaveLength(0);
    void connection.subscribe('another', () => {});
    await clock.advance(1_110);
    expect(ended).toHaveLength(1);
  });
});
