import { beforeEach, describe, expect, it } from '@jest/globals';
import { GroupCommit } from '../../../../lib/store/redis/commit/group-commit.js';
import type { AcquireCommit, RenewCommit } from '../../../../lib/store/redis/commit/commit-request.js';
import { LongLeases } from '../../../../lib/store/redis/replication/long-leases.js';
import type { ReleaseOutbox } from '../../../../lib/store/redis/commit/release-outbox.js';
import { MUTEX } from '../../../../lib/store/redis/scripts/lock-scripts.js';
import type { ReplicaView } from '../../../../lib/store/redis/replication/replica-view.js';
import type { Session } from '../../../../lib/store/redis/connection/session.js';
import { NO_INDEX } from '../../../../lib/common/intrusive-set.js';
import { Validity } from '../../../../lib/store/validity.js';
import { ManualClock, settled } from '../../../support/manual-clock.js';

const LEASE = 9_000;

describe('A renewal while the answers to a group in flight are unread', () => {
  let clock: ManualClock;
  let groupCommit: GroupCommit;
  /** The kinds of the requests of each group. */
  let sent: string[][];

  beforeEach(async () => {
    clock = new ManualClock();
    sent = [];
    const session = {
      canUnblock: true,
      run: { links: { command: ['client', 'list', 'type', 'replica'] } },
      groupCommand: (_: unknown, requests: readonly { kind: string }[]) => requests.map(({ kind }) => kind),
      sendCommit: (commands: string[][]) => sent.push(commands[0]!),
    };
    const view = { masterOffset: 0, required: () => 1, quarantineLeft: () => 0 };
    const leases = new LongLeases(Infinity, () => {});
    groupCommit = new GroupCommit({} as ReleaseOutbox, leases, clock, {
      kind: 'unavailable',
      reason: 'not yet',
    });
    groupCommit.attach(session as unknown as Session, view as unknown as ReplicaView);
    groupCommit.acquire(request('acquire') as AcquireCommit);
    await settled();
  });

  const request = (kind: 'acquire' | 'renew'): object => ({
    kind,
    names: ['k'],
    keys: ['lock:k'],
    slot: undefined,
    scripts: MUTEX,
    owner: 'rl:a:1',
    leaseTime: LEASE,
    ttl: LEASE + 1_000,
    demand: { policy: 'majority', allowNoReplicas: false },
    confirmTime: 1_000,
    waitUntil: Infinity,
    endsAt: Infinity,
    stage: 'queued',
    openIndex: NO_INDEX,
    pendingIndex: NO_INDEX,
    verdictBy: undefined,
    settle: () => {},
  });
  const renewWhenPassed = async (share: number): Promise<void> => {
    const heldValidity = Validity.ofLease(LEASE, clock);
    clock.freeze(share * LEASE);
    groupCommit.renew({ ...request('renew'), heldValidity, confirmTime: LEASE } as RenewCommit);
    await settled();
  };

  it('waits for that group if it has just become due', async () => {
    await renewWhenPassed(1 / 3);
    expect(sent).toEqual([['acquire']]);
  });

  it.each([0.4, 0.6])(
    'is sent behind that group if the event loop is so late that %d of the lease have passed',
    async (share) => {
      await renewWhenPassed(share);
      expect(sent).toEqual([['acquire'], ['renew']]);
    },
  );

  it('is sent behind two groups at most', async () => {
    for (let i = 0; i < 3; i++) await renewWhenPassed(0.6);
    expect(sent).toEqual([['acquire'], ['renew'], ['renew']]);
  });
});
