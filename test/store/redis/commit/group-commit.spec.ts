import { describe, expect, it, jest } from '@jest/globals';
import { NO_INDEX } from '../../../../lib/common/intrusive-set.js';
import { GroupCommit } from '../../../../lib/store/redis/commit/group-commit.js';
import type { AcquireCommit } from '../../../../lib/store/redis/commit/commit-request.js';
import { ErrorReply, type Command, type Reply } from '../../../../lib/store/redis/resp.js';
import { LongLeases } from '../../../../lib/store/redis/replication/long-leases.js';
import { ReleaseOutbox } from '../../../../lib/store/redis/commit/release-outbox.js';
import { MUTEX } from '../../../../lib/store/redis/scripts/lock-scripts.js';
import type { ReplicaView } from '../../../../lib/store/redis/replication/replica-view.js';
import type { Session } from '../../../../lib/store/redis/connection/session.js';
import { ManualClock } from '../../../support/manual-clock.js';

const WHY = { kind: 'unavailable', reason: 'the connection was lost' } as const;

/** A session to a master whose replicas confirm nothing, so every written request stays pending. */
class UnconfirmedSession {
  readonly canUnblock = true;
  readonly run = { replid: 'abc', links: { command: ['client', 'list', 'type', 'replica'] } };
  readonly address = { host: 'h', port: 1 };
  /** The owners of the requests, in the order of sending. */
  readonly owners: string[] = [];
  private offset = 0;

  groupCommand(_script: unknown, batch: readonly AcquireCommit[]): Command {
    for (const { owner } of batch) this.owners.push(owner);
    return ['eval', batch.length];
  }

  sendCommit(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    for (const [index, [name, size]] of commands.entries()) onReply(this.answer(name, size), index);
  }

  private answer(name: string, size: string | number | undefined): Reply {
    if (name === 'eval') {
      this.offset += Number(size);
      return Array.from({ length: Number(size) }, () => '1700000000000000');
    }
    if (name === 'info')
      return `# Replication\r\nrole:master\r\nmaster_replid:abc\r\nmaster_repl_offset:${this.offset}\r\n`;
    return name === 'wait' ? 0 : '';
  }
}

const UNCONFIRMED = {
  masterOffset: 0,
  quarantineLeft: () => 0,
  required: () => 1,
  observe: () => {},
  judge: () => ({ kind: 'lacking', confirmed: 0, required: 1 }),
};
const VIEW = UNCONFIRMED as unknown as ReplicaView;

/** A request that counts comparisons with others. */
class CountedRequest {
  static comparisons = 0;
  readonly kind = 'acquire';
  readonly slot = undefined;
  readonly scripts = MUTEX;
  readonly floor = 0;
  readonly leaseTime = 60_000;
  readonly ttl = 61_000;
  readonly demand = { policy: 'all', allowNoReplicas: false };
  readonly confirmTime = 30_000;
  readonly waitUntil = Infinity;
  readonly endsAt = Infinity;
  stage = 'queued';
  mayBeWritten = false;
  abandoned = false;
  granted = false;
  group: unknown;
  token = 0;
  isAlone = false;
  openIndex = NO_INDEX;
  pendingIndex = NO_INDEX;
  verdictBy = undefined;
  readonly names: string[];
  readonly keys: string[];
  private arrival = 0;

  constructor(readonly owner: string) {
    this.names = [owner];
    this.keys = [owner];
  }

  get order(): number {
    CountedRequest.comparisons++;
    return this.arrival;
  }

  set order(order: number) {
    this.arrival = order;
  }

  settle(): void {}
}

function groupCommitOn(clock: ManualClock): GroupCommit {
  const outbox = new ReleaseOutbox(clock, { replicaTimeout: 0, clockSkew: 0 });
  return new GroupCommit(outbox, new LongLeases(10_000, () => {}), clock, WHY);
}

describe('Tens of thousands of requests whose connection is lost', () => {
  it('are sent again in the order of their arrival, with work in proportion to their number', async () => {
    const clock = new ManualClock();
    const groupCommit = groupCommitOn(clock);
    const attach = (): UnconfirmedSession => {
      const session = new UnconfirmedSession();
      groupCommit.attach(session as unknown as Session, VIEW);
      return session;
    };
    const requests = Array.from(
      { length: 20_000 },
      (_, i) => new CountedRequest(`rl:test:${i}`) as unknown as AcquireCommit,
    );
    const first = attach();
    for (const request of requests) groupCommit.acquire(request);
    while (first.owners.length < requests.length) await clock.advance(1);
    const isGone = (_: unknown, i: number): boolean => i % 10 === 0;
    for (const request of requests.filter(isGone)) groupCommit.abandon(request);

    const unshift = jest.spyOn(Array.prototype, 'unshift');
    CountedRequest.comparisons = 0;
    groupCommit.detach(WHY);
    expect(unshift).not.toHaveBeenCalled();
    unshift.mockRestore();
    expect(CountedRequest.comparisons).toBeLessThan(2 * requests.length * Math.log2(requests.length));

    const second = attach();
    while (second.owners.length < 2_000) await clock.advance(1);
    const owners = requests.filter((_, i) => !isGone(_, i)).map(({ owner }) => owner);
    expect(second.owners).toEqual(owners.slice(0, second.owners.length));
    groupCommit.dispose(WHY);
  });
});

/** A session to a master whose WAIT blocks until an UNBLOCK. */
class BlockedSession extends UnconfirmedSession {
  private blocked: (() => void)[] = [];

  override sendCommit(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    const wait = commands.findIndex(([name]) => name === 'wait');
    const rest = commands.slice(wait + 1);
    super.sendCommit(commands.slice(0, wait), onReply);
    this.blocked.push(() => {
      onReply(new ErrorReply('UNBLOCKED client unblocked via CLIENT UNBLOCK'), wait);
      super.sendCommit(rest, (reply, index) => onReply(reply, wait + 1 + index));
    });
  }

  unblockCommit(onAnswer: (hit: boolean) => void): void {
    queueMicrotask(() => {
      const [next] = this.blocked.splice(0, 1);
      next?.();
      onAnswer(next !== undefined);
    });
  }
}

describe('A request that the replicas do not confirm', () => {
  it('ends when its time is up, even if groups for other requests follow each other without a gap', async () => {
    const clock = new ManualClock();
    const groupCommit = groupCommitOn(clock);
    const view = {
      ...UNCONFIRMED,
      report: () => [],
      judge: ({ policy }: { policy: string }) =>
        policy === 'all' ? { kind: 'lacking', confirmed: 0, required: 1 } : { kind: 'confirmed', by: 1 },
    } as unknown as ReplicaView;
    groupCommit.attach(new BlockedSession() as unknown as Session, view);
    const start = clock.monotonic();
    const ends: number[] = [];
    const request = (owner: string, policy: string, confirmTime: number, settle: () => void): AcquireCommit =>
      Object.assign(new CountedRequest(owner), {
        demand: { policy, allowNoReplicas: false },
        confirmTime,
        settle,
      }) as unknown as AcquireCommit;
    groupCommit.acquire(request('rl:test:slow', 'all', 300, () => ends.push(clock.monotonic() - start)));
    for (let i = 0; i < 1_000 && ends.length === 0; i++) {
      groupCommit.acquire(request(`rl:test:${i}`, 'majority', 30_000, () => {}));
      await clock.advance(1);
    }
    expect(ends[0]).toBeGreaterThanOrEqual(300);
    expect(ends[0]).toBeLessThan(360);
    groupCommit.dispose(WHY);
  });
});
