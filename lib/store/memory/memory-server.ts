import { Subject } from 'rxjs';
import type { Clock } from '../../common/clock.js';
import {
  SHORTEST_TOMBSTONE_TIME,
  type AcquireOutcome,
  type AcquireRequest,
  type Holder,
  type InspectOutcome,
  type KeyChange,
  type OwnedKeys,
  type RenewPurpose,
} from '../lock-store.js';
import { Validity } from '../validity.js';

/**
 * Least number of grants between two purges of expired permits. If a purge leaves more keys than
 * that, the next one comes after as many grants, so the cost per grant stays the same.
 */
const PURGE_EVERY = 1_000;

/** The part of one lock in one key, also for a while after the release. */
interface Permit {
  /** Undefined once the key is released: only the token is kept. */
  owner: string | undefined;
  readonly token: number;
  /** Monotonic instant. */
  expiresAt: number;
  /** Given back, and only kept busy. */
  inCooldown: boolean;
  /** Given back, and the key keeps this result. */
  result: string | undefined;
}

/** The locks of one process, without a server: the counterpart of one Redis master. */
export class MemoryServer {
  /** The permits of each key, at most one of them with an owner. */
  private readonly permits = new Map<string, readonly Permit[]>();
  private grantsUntilPurge = PURGE_EVERY;
  readonly changes = new Subject<KeyChange>();

  constructor(private readonly clock: Clock) {}

  acquire({ keys, owner, leaseTime }: AcquireRequest): AcquireOutcome {
    const now = Math.floor(this.clock.wall() * 1000);
    let token = 0;
    for (const key of keys) {
      let next = now;
      for (const permit of this.permitsOf(key)) {
        // An owner that asks again keeps its token.
        if (permit.owner === owner && permit.result === undefined) next = permit.token;
        else if (permit.owner === undefined) next = Math.max(next, permit.token + 1);
        else return { kind: 'busy', key, holder: this.holderOf(permit, permit.owner) };
      }
      token = Math.max(token, next);
    }
    const validity = Validity.ofLease(leaseTime, this.clock);
    const expiresAt = this.clock.monotonic() + leaseTime;
    for (const key of keys)
      this.permits.set(key, [{ owner, token, expiresAt, inCooldown: false, result: undefined }]);
    this.purge(keys.length);
    return { kind: 'granted', token, confirmedBy: 0, validity };
  }

  /**
   * Extends the lease of all keys. Answers the first key that the owner does not hold; undefined if
   * all were extended.
   */
  renew({ keys, owner }: OwnedKeys, leaseTime: number, purpose: RenewPurpose): string | undefined {
    const inCooldown = purpose === 'cooldown';
    const permits: Permit[] = [];
    for (const key of keys) {
      const permit = this.permitOf(key, owner);
      if (permit === undefined || (permit.inCooldown && !inCooldown)) return key;
      permits.push(permit);
    }
    if (typeof purpose === 'object') {
      for (const permit of permits) {
        this.extend(permit, leaseTime, false);
        permit.result = purpose.result;
      }
      for (const key of keys) this.changes.next({ key });
      return undefined;
    }
    // A key in cooldown stays busy until its end, and no longer.
    for (const permit of permits) if (!permit.inCooldown) this.extend(permit, leaseTime, inCooldown);
    return undefined;
  }

  /**
   * Gives the keys back. Answers whether the owner held all keys, or had released them already: a
   * released key still has this lock's token unless another owner took it since.
   */
  release({ keys, owner, token }: OwnedKeys & { readonly token: number }, cooldown: number): boolean {
    const changed: string[] = [];
    let ours = true;
    for (const key of keys) {
      const permit = this.permitOf(key, owner);
      if (permit === undefined) ours &&= this.permitOf(key, undefined)?.token === token;
      else if (cooldown === 0 || !permit.inCooldown) {
        if (cooldown > 0) this.extend(permit, cooldown, true);
        else this.free(permit);
        changed.push(key);
      }
    }
    for (const key of changed) this.changes.next({ key });
    return ours;
  }

  /** The first key that the owner does not hold; undefined if the owner holds all. */
  firstLost({ keys, owner }: OwnedKeys): string | undefined {
    return keys.find((key) => this.permitOf(key, owner) === undefined);
  }

  inspect(key: string): InspectOutcome {
    for (const permit of this.permitsOf(key)) {
      if (permit.owner === undefined) continue;
      const holder = this.holderOf(permit, permit.owner);
      const { result } = permit;
      return result === undefined ? { kind: 'held', holder } : { kind: 'kept', holder, result };
    }
    return { kind: 'free' };
  }

  /** Answers whether the key had a holder or kept a result. */
  forceRelease(key: string): boolean {
    const taken = this.permitsOf(key).filter(({ owner }) => owner !== undefined);
    for (const permit of taken) this.free(permit);
    if (taken.length > 0) this.changes.next({ key });
    return taken.length > 0;
  }

  /** The keys that keep a result. */
  get keysWithResult(): string[] {
    return [...this.permits.keys()].filter((key) => this.inspect(key).kind === 'kept');
  }

  private holderOf({ token, expiresAt, inCooldown, result }: Permit, owner: string): Holder {
    const holder = { owner, token, remainingTime: expiresAt - this.clock.monotonic(), inCooldown };
    return result === undefined ? holder : { ...holder, keepsResult: true };
  }

  /** The lock of this owner, or without an owner the token of a freed key. */
  private permitOf(key: string, owner: string | undefined): Permit | undefined {
    const now = this.clock.monotonic();
    for (const permit of this.permits.get(key) ?? [])
      if (permit.owner === owner && permit.result === undefined && permit.expiresAt > now) return permit;
    return undefined;
  }

  /** The permits of the key that have not expired. */
  private permitsOf(key: string): readonly Permit[] {
    const now = this.clock.monotonic();
    return this.permits.get(key)?.filter(({ expiresAt }) => expiresAt > now) ?? [];
  }

  private extend(permit: Permit, time: number, inCooldown: boolean): void {
    permit.expiresAt = this.clock.monotonic() + time;
    permit.inCooldown = inCooldown;
  }

  private free(permit: Permit): void {
    permit.owner = undefined;
    permit.result = undefined;
    this.extend(permit, SHORTEST_TOMBSTONE_TIME, false);
  }

  /** Forgets the expired permits if a purge is due. */
  private purge(granted: number): void {
    this.grantsUntilPurge -= granted;
    if (this.grantsUntilPurge > 0) return;
    for (const key of this.permits.keys()) if (this.permitsOf(key).length === 0) this.permits.delete(key);
    this.grantsUntilPurge = Math.max(PURGE_EVERY, this.permits.size);
  }
}

const named = new Map<string, WeakRef<MemoryServer>>();

/**
 * The server that a `connection` names. `'memory:'` is a new server; `'memory:name'` is shared by
 * all that use this name in the process.
 */
export function memoryServerOf(connection: string, clock: Clock): MemoryServer {
  const name = connection.slice('memory:'.length);
  const shared = name === '' ? undefined : named.get(name)?.deref();
  if (shared !== undefined) return shared;
  const server = new MemoryServer(clock);
  if (name !== '') named.set(name, new WeakRef(server));
  return server;
}
