import { hostname } from 'node:os';
import type { LockInfo } from '../lock/lock-info.js';
import type { LockService } from '../lock/lock-service.js';
import type { Lock } from '../lock/lock.js';
import type { MasterHealth } from '../store/lock-store.js';
import type { BoardLock, BoardMaster, BoardState, Some } from './board-model.js';
import type { BoardSettings } from './board-options.js';

/** The most entries of one list: a process may hold tens of thousands of locks. */
const MOST_ENTRIES = 50;

/** The most keys that one entry lists: a lock may have hundreds of long keys. */
export const MOST_KEYS_LISTED = 5;

const PROCESS = `${hostname()}:${process.pid}`;

/** The state of the process, from what it knows: nothing is sent to Redis. */
export function snapshot(service: LockService, { name, allowForceRelease }: BoardSettings): BoardState {
  const { status, lost, masters, elections } = service.health();
  return {
    ...(name !== undefined && { instance: name }),
    process: PROCESS,
    at: Date.now(),
    status,
    lost,
    masters: masters.map(masterOf),
    held: some(service.held, lockOf),
    waiting: some(service.acquisitions.waitingByKey(), (queue) => queue),
    elections: some(elections, ({ key, isLeader }) => ({ key, isLeader })),
    allowForceRelease,
  };
}

function some<T, R>(items: readonly T[], show: (item: T) => R): Some<R> {
  return { total: items.length, first: items.slice(0, MOST_ENTRIES).map((item) => show(item)) };
}

function masterOf({
  address,
  connected,
  reason,
  warnings = [],
  quarantine,
  replicas,
}: MasterHealth): BoardMaster {
  return {
    address,
    status: !connected ? 'down' : reason === undefined && quarantine === 0 ? 'up' : 'degraded',
    ...(reason !== undefined && { reason }),
    warnings,
    quarantine: Math.round(quarantine),
    replicas: replicas.map((replica) => ({
      address: replica.address,
      confirms: replica.acknowledged,
      lag: replica.lag,
    })),
  };
}

function lockOf({ keys, owner, fencingToken, limit, remainingTime, leaseTime }: Lock): BoardLock {
  const moreKeys = keys.length - MOST_KEYS_LISTED;
  return {
    keys: keys.slice(0, MOST_KEYS_LISTED),
    ...(moreKeys > 0 && { moreKeys }),
    owner,
    fencingToken,
    limit: finite(limit),
    remainingTime: Math.round(remainingTime),
    leaseTime,
  };
}

/** A holder as `LockService` found it in Redis. A kept result may be secret, and is not shown. */
export function lockOfInfo({
  key,
  owner,
  fencingToken,
  limit,
  holders,
  remainingTime,
  kept,
}: LockInfo): BoardLock {
  return {
    keys: [key],
    owner,
    fencingToken,
    limit: finite(limit),
    holders,
    remainingTime: finite(Math.round(remainingTime)),
    ...(kept !== undefined && { isKept: true }),
  };
}

/** JSON has no Infinity. */
function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
