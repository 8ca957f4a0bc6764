import type { Clock } from '../../../common/clock.js';
import { NO_INDEX } from '../../../common/intrusive-set.js';
import type { Whole } from '../../../common/whole.js';
import {
  attemptEndOf,
  confirmTimeOf,
  MARK_TIME,
  tombstoneTimeOf,
  type AcquireRequest,
  type HeldKeys,
  type RenewPurpose,
} from '../../lock-store.js';
import type { AcquireCommit, RenewCommit } from '../commit/commit-request.js';
import type { LockPart } from '../lock-part.js';
import { RENEWAL } from '../replication/quorum.js';
import { MUTEX_OF_SHARED_KEY, RUN_ONCE, scriptsFor } from '../scripts/lock-scripts.js';
import { limitForScript } from '../scripts/permits.js';
import type { MasterSettings } from './master-settings.js';

/*
 * What a master is asked for, as requests of its group commit. Each request has all its properties
 * from the start: objects of one shape are cheap, and a spread is not.
 */

type Settings = Pick<MasterSettings, 'clockSkew' | 'allowNoReplicas'>;

/** The token is not smaller than `floor`. */
export function newAcquireCommit(
  request: AcquireRequest,
  { names, keys, slot }: LockPart,
  floor: number,
  { clockSkew, allowNoReplicas }: Settings,
  clock: Clock,
  settle: AcquireCommit['settle'],
): AcquireCommit {
  const { leaseTime, limit, waitUntil } = request;
  const now = clock.monotonic();
  const commit: AcquireCommit & Whole<AcquireCommit> = {
    kind: 'acquire',
    names,
    keys,
    slot,
    scripts: limit === 1 && request.isShared === true ? MUTEX_OF_SHARED_KEY : scriptsFor(limit),
    floor,
    tombstone: tombstoneTimeOf(clockSkew),
    limit: limitForScript(limit),
    wait: Math.max(0, Math.ceil(Math.min(MARK_TIME, request.wantedUntil - now))),
    owner: request.owner,
    leaseTime,
    ttl: ttlOf(leaseTime, clockSkew),
    demand: { policy: request.replicas, allowNoReplicas },
    confirmTime: confirmTimeOf(request),
    waitUntil,
    endsAt: attemptEndOf(request, now),
    order: 0,
    stage: 'queued',
    mayBeWritten: false,
    abandoned: false,
    granted: false,
    group: undefined,
    token: 0,
    isAlone: false,
    openIndex: NO_INDEX,
    pendingIndex: NO_INDEX,
    verdictBy: undefined,
    settle,
  };
  return commit;
}

export function newRenewCommit(
  lock: HeldKeys,
  { names, keys, slot }: LockPart,
  leaseTime: number,
  purpose: RenewPurpose,
  { clockSkew, allowNoReplicas }: Settings,
  clock: Clock,
  settle: RenewCommit['settle'],
): RenewCommit {
  const toKeep = typeof purpose === 'object' ? purpose : undefined;
  const commit: RenewCommit & Whole<RenewCommit> = {
    kind: 'renew',
    names,
    keys,
    slot,
    scripts: toKeep === undefined ? scriptsFor(lock.limit) : RUN_ONCE,
    owner: lock.owner,
    leaseTime,
    ttl: ttlOf(leaseTime, clockSkew),
    demand: toKeep === undefined ? RENEWAL : { policy: toKeep.replicas, allowNoReplicas, anyLinkAge: true },
    confirmTime: lock.validity.remaining(clock),
    order: 0,
    stage: 'queued',
    mayBeWritten: false,
    group: undefined,
    token: 0,
    // Large results in one run would block the server.
    isAlone: toKeep !== undefined,
    openIndex: NO_INDEX,
    pendingIndex: NO_INDEX,
    verdictBy: undefined,
    heldValidity: lock.validity,
    purpose: typeof purpose === 'object' ? 'keep' : purpose,
    result: toKeep?.result ?? '',
    refused: undefined,
    settle,
  };
  if (purpose !== 'hold') {
    const keptUntil = clock.monotonic() + leaseTime;
    // `ttl` becomes a getter, because the request may be sent late or twice: the key stays busy until
    // `keptUntil` in any case.
    const ttl = (): number => Math.max(1, Math.ceil(keptUntil - clock.monotonic()));
    Object.defineProperty(commit, 'ttl', { get: ttl });
  }
  return commit;
}

/**
 * ms that a key lives. The key outlives its lease, because the clocks of master and replicas may
 * differ.
 */
function ttlOf(leaseTime: number, clockSkew: number): number {
  return Math.ceil(leaseTime + clockSkew);
}
