import { describe, expect, it } from '@jest/globals';
import type { Connection, Connector } from '../../../../lib/store/redis/connection/connection.js';
import type { Address, Command, Reply } from '../../../../lib/store/redis/resp.js';
import { AnnouncedReplicas } from '../../../../lib/store/redis/replication/known-replicas.js';
import { SentinelLink } from '../../../../lib/store/redis/sentinel/sentinel-link.js';
import { Sentinels } from '../../../../lib/store/redis/sentinel/sentinels.js';
import { ManualClock, settled } from '../../../support/manual-clock.js';

/** A connection to a Sentinel. The test gives the answers, and opens the gate for them. */
class SentinelConnection implements Connection {
  private readonly listeners = new Set<(cause: unknown) => void>();
  isClosed = false;
  questions = 0;

  constructor(
    private readonly answer: (command: Command) => Reply,
    private readonly gate: Promise<void> = Promise.resolve(),
  ) {}

  send(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    this.questions += commands.length;
    void Promise.resolve().then(() => {
      if (!this.isClosed) for (const [i, command] of commands.entries()) onReply(this.answer(command), i);
    });
  }

  subscribe(): Promise<void> {
    return this.gate;
  }

  onEnd(listener: (cause: unknown) => void): () => void {
    if (this.isClosed) listener(new Error('closed'));
    else this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const listener of this.listeners) listener(new Error('closed'));
  }
}

/** The answers of a Sentinel that knows these servers; the first is the master. */
function sentinelOf(view: () => { servers: readonly number[]; epoch: number }): (command: Command) => Reply {
  return ([, what]) => {
    const { servers, epoch } = view();
    const record = (port: number): Reply => [
      'ip',
      '10.0.0.1',
      'port',
      String(port),
      'config-epoch',
      String(epoch),
    ];
    const [master = 0, ...replicas] = servers;
    if (what === 'get-master-addr-by-name') return ['10.0.0.1', String(master)];
    return what === 'master' ? record(master) : replicas.map(record);
  };
}

describe('A link to a Sentinel', () => {
  it('that is closed while subscribing asks nothing more, and leaves no connection open', async () => {
    const clock = new ManualClock();
    let open!: () => void;
    const gate = new Promise<void>((resolve) => (open = resolve));
    const made: SentinelConnection[] = [];
    const answer = sentinelOf(() => ({ servers: [1, 2], epoch: 1 }));
    const connector: Connector = {
      connectTimeout: 2_000,
      connect: () => {
        const connection = new SentinelConnection(answer, gate);
        made.push(connection);
        return Promise.resolve(connection);
      },
    };
    const link = new SentinelLink({ host: 'h', port: 1 }, 'mymaster', connector, clock, () => {});
    link.open();
    await settled();
    link.close();
    open();
    await settled();
    await clock.advance(10_000);
    expect(made.map(({ isClosed, questions }) => ({ isClosed, questions }))).toEqual([
      { isClosed: true, questions: 0 },
      { isClosed: true, questions: 0 },
    ]);
  });
});

describe('One Sentinel of three, if only that Sentinel answers', () => {
  const ports = [101, 102, 103];

  async function cutOff(view: { servers: readonly number[]; epoch: number }): Promise<{
    replicas: AnnouncedReplicas;
    sentinels: Sentinels;
    clock: ManualClock;
    switches: string[];
  }> {
    const clock = new ManualClock();
    const replicas = new AnnouncedReplicas();
    const switches: string[] = [];
    const state = { isCut: false };
    const made: { port: number; connection: SentinelConnection }[] = [];
    const whole = { servers: [1, 2, 3, 4], epoch: 5 };
    const connector: Connector = {
      connectTimeout: 2_000,
      connect: ({ port }: Address) => {
        if (state.isCut && port !== 101) return Promise.reject(new Error('unreachable'));
        const connection = new SentinelConnection(sentinelOf(() => (state.isCut ? view : whole)));
        made.push({ port, connection });
        return Promise.resolve(connection);
      },
    };
    const sentinels = new Sentinels(
      ports.map((port) => ({ host: 'h', port })),
      'mymaster',
      connector,
      replicas,
      (address) => ({ host: address, port: 0 }),
      clock,
      (identity) => switches.push(identity),
    );
    sentinels.open();
    await settled();
    await sentinels.locate();
    state.isCut = true;
    for (const { port, connection } of made) if (port !== 101) connection.close();
    for (let second = 0; second < 90; second++) await clock.advance(1_000);
    return { replicas, sentinels, clock, switches };
  }

  it('makes no replica forgotten if it was just set up again', async () => {
    const { replicas, sentinels } = await cutOff({ servers: [1, 2], epoch: 5 });
    expect([...replicas.addresses].toSorted()).toEqual(['10.0.0.1:2', '10.0.0.1:3', '10.0.0.1:4']);
    sentinels.close();
  });

  it('does not lead back to the old master if it missed the last fail-over', async () => {
    const { sentinels, switches } = await cutOff({ servers: [2, 1, 3, 4], epoch: 4 });
    expect(switches).toEqual([]);
    expect(sentinels.isCurrent('10.0.0.1:1')).toBe(true);
    sentinels.close();
  });
});

describe('One Sentinel of three that hangs', () => {
  it('does not delay a search for the master, and does not keep a closed search open', async () => {
    const clock = new ManualClock();
    const whole = sentinelOf(() => ({ servers: [1, 2, 3], epoch: 5 }));
    let hanging = 0;
    const connector: Connector = {
      connectTimeout: 2_000,
      connect: ({ port }: Address, _label: string, signal: AbortSignal) => {
        if (port !== 102) return Promise.resolve(new SentinelConnection(whole));
        hanging++;
        return new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            hanging--;
            reject(signal.reason as Error);
          });
        });
      },
    };
    const sentinels = new Sentinels(
      [101, 102, 103].map((port) => ({ host: 'h', port })),
      'mymaster',
      connector,
      new AnnouncedReplicas(),
      (address) => ({ host: address, port: 0 }),
      clock,
      () => {},
    );
    sentinels.open();
    let found: string | undefined;
    void sentinels.locate().then(({ identity }) => (found = identity));
    await clock.advance(100);
    expect(found).toBe('10.0.0.1:1');
    expect(hanging).toBe(2);
    sentinels.close();
    await settled();
    expect({ hanging, timers: clock.timers }).toEqual({ hanging: 0, timers: 0 });
  });
});
