import { Subject } from 'rxjs';
import type { Clock } from '../../common/clock.js';
import {
  MARK_TIME,
  SHORTEST_TOMBSTONE_TIME,
  type AcquireOutcome,
  type AcquireRequest,
  type Busy,
  type Holder,
  type InspectOutcome,
  type KeyChange,
  type OwnedKeys,
  type RenewPurpose,
} from '../lock-store.js';
import { KeyGlob } from '../key-glob.js';
import { PAGE_SIZE, type ListedKey, type ListedPage, type ListRequest } from '../lock-listing.js';
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
  /** See `OwnedKeys.limit`. */
  readonly limit: number;
  /** Monotonic instant. */
  expiresAt: number;
  /** Given back, and only kept busy. */
  inCooldown: boolean;
  /** Given back, and the key keeps this result. */
  result: string | undefined;
}

/** Keeps out owners with a larger limit, for an owner that waits. */
interface Mark {
  readonly limit: number;
  /** Monotonic instant. */
  readonly until: number;
}

/** A lock that is given back. */
type Released = Pick<OwnedKeys, 'keys' | 'owner'> & { readonly token: number };

/** What a key is for an owner that asks for it. */
type Room = { readonly kind: 'room'; readonly token: number } | Busy;

/** The locks of one process, without a server: the counterpart of one Redis master. */
export class MemoryServer {
  /** The permits of each key: of its holders, and of owners that have gone. */
  private readonly permits = new Map<string, readonly Permit[]>();
  private readonly marks = new Map<string, Mark>();
  private grantsUntilPurge = PURGE_EVERY;
  readonly changes = new Subject<KeyChange>();

  constructor(private readonly clock: Clock) {}

  acquire(request: AcquireRequest): AcquireOutcome {
    const { keys, owner, leaseTime, limit } = request;
    let token = 0;
    for (const key of keys) {
      const room = this.roomFor(key, request);
      if (room.kind === 'busy') return room;
      token = Math.max(token, room.token);
    }
    const validity = Validity.ofLease(leaseTime, this.clock);
    const expiresAt = this.clock.monotonic() + leaseTime;
    for (const key of keys) {
      const others = this.permitsOf(key).filter((permit) =>
        permit.owner === undefined ? permit.token > token : permit.owner !== owner,
      );
      this.permits.set(key, [
        ...others,
        { owner, token, limit, expiresAt, inCooldown: false, result: undefined },
      ]);
      if (limit <= (this.markOf(key)?.limit ?? 0)) this.marks.delete(key);
    }
    this.purge(keys.length);
    return { kind: 'granted', token, confirmedBy: 0, validity };
  }

  /** The key's next token if this owner may enter. Otherwise leaves the owner's mark. */
  private roomFor(key: string, { owner, limit, wantedUntil }: AcquireRequest): Room {
    const holders: Permit[] = [];
    let token = Math.floor(this.clock.wall() * 1000);
    for (const permit of this.permitsOf(key)) {
      // An owner that asks again keeps its token.
      if (permit.owner === owner && permit.result === undefined) return { kind: 'room', token: permit.token };
      token = Math.max(token, permit.token + 1);
      if (permit.owner !== undefined) holders.push(permit);
    }
    const least = holders.reduce((most, permit) => Math.min(most, permit.limit), Infinity);
    const hasRoom = holders.length === 0 || (holders.length < limit && holders.length < least);
    const mark = this.markOf(key);
    const isKeptOut = mark !== undefined && mark.limit < limit;
    if (hasRoom && !isKeptOut) return { kind: 'room', token };
    const now = this.clock.monotonic();
    const until = Math.min(wantedUntil, now + MARK_TIME);
    const isMarked = until > now && !isKeptOut && limit < least;
    if (isMarked && (mark?.limit !== limit || mark.until < until)) this.marks.set(key, { limit, until });
    const [first] = inOrderOfEnd(holders);
    const holder =
      first === undefined
        ? { owner: '', token, remainingTime: mark!.until - now, inCooldown: true, limit: mark!.limit }
        : this.holderOf(first, first.owner!);
    const remainingTime = hasRoom ? mark!.until - now : holder.remainingTime;
    const shared = least === 1 ? undefined : { holders: holders.length, isMarked };
    return { kind: 'busy', key, holder: { ...holder, remainingTime }, shared };
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
   * Gives the keys back. Answers whether the owner held all keys, or had released them already: the
   * last token of a released key is this lock's token unless another owner was granted it since.
   */
  release({ keys, owner, token }: Released, cooldown: number): boolean {
    const changed: string[] = [];
    let ours = true;
    for (const key of keys) {
      const permit = this.permitOf(key, owner);
      if (permit === undefined) ours &&= this.lastTokenOf(key) === token;
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

  /** What the key holds: holders, the first to end first, or a kept result. */
  inspect(key: string): InspectOutcome {
    const [first, ...others] = inOrderOfEnd(this.permitsOf(key).filter(({ owner }) => owner !== undefined));
    if (first === undefined) return { kind: 'free' };
    const holder = this.holderOf(first, first.owner!);
    if (first.result !== undefined) return { kind: 'kept', holder, result: first.result };
    return {
      kind: 'held',
      holder,
      holders: [holder, ...others.map((permit) => this.holderOf(permit, permit.owner!))],
    };
  }

  /** A page of the keys in alphabetical order. The cursor is the last key of the page before. */
  list({ match = '*', cursor = '' }: ListRequest): ListedPage {
    const glob = new KeyGlob(match);
    const keys = [...this.permits.keys()].filter((key) => key > cursor && glob.matches(key)).toSorted();
    const page = keys.slice(0, PAGE_SIZE);
    const locks = page.flatMap((key): ListedKey[] => {
      const found = this.inspect(key);
      return found.kind === 'held' || found.kind === 'kept' ? [{ ...found, key }] : [];
    });
    const isLast = keys.length === page.length;
    return { kind: 'page', locks, ...(!isLast && { cursor: page.at(-1)! }) };
  }

  /**
   * Takes the key from all its holders, or from one owner, and removes a kept result. Answers whether
   * there was any.
   */
  forceRelease(key: string, named?: string): boolean {
    const taken = this.permitsOf(key).filter(
      ({ owner }) => owner !== undefined && (named === undefined || owner === named),
    );
    for (const permit of taken) this.free(permit);
    if (taken.length > 0) this.changes.next({ key });
    return taken.length > 0;
  }

  /** The keys that keep a result. */
  get keysWithResult(): string[] {
    return [...this.permits.keys()].filter((key) => this.inspect(key).kind === 'kept');
  }

  private holderOf({ token, limit, expiresAt, inCooldown, result }: Permit, owner: string): Holder {
    const remainingTime = expiresAt - this.clock.monotonic();
    const holder = { owner, token, remainingTime, inCooldown, limit };
    return result === undefined ? holder : { ...holder, keepsResult: true };
  }

  private markOf(key: string): Mark | undefined {
    const mark = this.marks.size === 0 ? undefined : this.marks.get(key);
    return mark !== undefined && mark.until > this.clock.monotonic() ? mark : undefined;
  }

  /** The last token of the key, while the key is held and for a while after. */
  private lastTokenOf(key: string): number {
    const locks = this.permitsOf(key).filter(({ result }) => result === undefined);
    return locks.reduce((last, { token }) => Math.max(last, token), 0);
  }

  private permitOf(key: string, owner: string): Permit | undefined {
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
    for (const key of this.marks.keys()) if (this.markOf(key) === undefined) this.marks.delete(key);
    this.grantsUntilPurge = Math.max(PURGE_EVERY, this.permits.size);
  }
}

function inOrderOfEnd(permits: readonly Permit[]): readonly Permit[] {
  return permits.length < 2 ? permits : permits.toSorted((a, b) => a.expiresAt - b.expiresAt);
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
