import { Subject } from 'rxjs';
import type { Clock } from '../../common/clock.js';
import type { AcquireOutcome, Holder, KeyChange, RenewPurpose } from '../lock-store.js';
import { Validity } from '../validity.js';

/** ms that a released key keeps its token, as in Redis. */
const TOMBSTONE_TIME = 10_000;
/**
 * Least number of writes between two purges of expired entries. With more entries than that, a
 * purge comes after as many writes as there are entries, so the cost per write stays the same.
 */
const PURGE_EVERY = 1_000;

interface Entry {
  /** Undefined if released: the token stays for a while. */
  readonly owner: string | undefined;
  readonly token: number;
  /** Monotonic instant. */
  readonly expiresAt: number;
  /** Given back, and only kept busy. */
  readonly inCooldown: boolean;
}

/** The locks of one process, without a server: the counterpart of one Redis master. */
export class MemoryServer {
  private readonly entries = new Map<string, Entry>();
  private writes = 0;
  readonly changes = new Subject<KeyChange>();

  constructor(private readonly clock: Clock) {}

  acquire(keys: readonly string[], owner: string, leaseTime: number): AcquireOutcome {
    const now = Math.floor(this.clock.wall() * 1000);
    let token = 0;
    for (const key of keys) {
      const entry = this.find(key);
      if (entry?.owner !== undefined && entry.owner !== owner) {
        return { kind: 'busy', key, holder: this.holderOf(entry, entry.owner) };
      }
      // An owner that asks again keeps its token.
      token = Math.max(token, entry?.owner === owner ? entry.token : Math.max(now, (entry?.token ?? 0) + 1));
    }
    const validity = Validity.ofLease(leaseTime, this.clock);
    for (const key of keys) this.write(key, owner, token, leaseTime);
    return { kind: 'granted', token, confirmedBy: 0, validity };
  }

  /**
   * Extends the lease of all keys. Answers the first key that the owner does not hold; undefined if
   * all were extended.
   */
  renew(
    keys: readonly string[],
    owner: string,
    leaseTime: number,
    purpose: RenewPurpose,
  ): string | undefined {
    const inCooldown = purpose === 'cooldown';
    const gone = keys.find((key) => {
      const entry = this.find(key);
      return entry?.owner !== owner || (entry.inCooldown && !inCooldown);
    });
    if (gone !== undefined) return gone;
    for (const key of keys) {
      const entry = this.find(key)!;
      // A key in cooldown stays busy until its end, and no longer.
      if (!entry.inCooldown) this.write(key, owner, entry.token, leaseTime, inCooldown);
    }
    return undefined;
  }

  /**
   * Gives the keys back. Answers whether the owner held all keys, or had released them already: a
   * released key still has this lock's token unless another owner took it since.
   */
  release(keys: readonly string[], owner: string, ownToken: number, cooldown: number): boolean {
    const held = keys.filter((key) => this.find(key)?.owner === owner);
    const changed = held.filter((key) => cooldown === 0 || !this.find(key)!.inCooldown);
    const released = keys.filter((key) => {
      const entry = this.find(key);
      return entry !== undefined && entry.owner === undefined && entry.token === ownToken;
    });
    for (const key of changed) {
      const { token } = this.find(key)!;
      if (cooldown > 0) this.write(key, owner, token, cooldown, true);
      else this.write(key, undefined, token, TOMBSTONE_TIME);
    }
    for (const key of changed) this.changes.next({ key });
    return held.length + released.length === keys.length;
  }

  inspect(key: string): Holder | undefined {
    const entry = this.find(key);
    return entry?.owner === undefined ? undefined : this.holderOf(entry, entry.owner);
  }

  forceRelease(key: string): boolean {
    const entry = this.find(key);
    return entry?.owner !== undefined && this.release([key], entry.owner, entry.token, 0);
  }

  private holderOf({ token, expiresAt, inCooldown }: Entry, owner: string): Holder {
    return { owner, token, remainingTime: expiresAt - this.clock.monotonic(), inCooldown };
  }

  private find(key: string): Entry | undefined {
    const entry = this.entries.get(key);
    return entry !== undefined && entry.expiresAt > this.clock.monotonic() ? entry : undefined;
  }

  private write(
    key: string,
    owner: string | undefined,
    token: number,
    time: number,
    inCooldown = false,
  ): void {
    this.entries.set(key, { owner, token, expiresAt: this.clock.monotonic() + time, inCooldown });
    if (++this.writes < Math.max(PURGE_EVERY, this.entries.size)) return;
    this.writes = 0;
    const now = this.clock.monotonic();
    for (const [each, { expiresAt }] of this.entries) if (expiresAt <= now) this.entries.delete(each);
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
