import { SimReplica, type Link } from './replication.js';
import { OutOfMemory, type Data } from './script-data.js';

export { OutOfMemory };

/**
 * A write of an acquisition: the offset, and the links at that time. Only these links may confirm
 * the write.
 */
export interface Written {
  readonly at: number;
  readonly offset: number;
  readonly links: readonly Link[];
}

/**
 * The data of a simulated server: keys with expiries, a memory that may be full, client tracking.
 */
export abstract class SimData extends SimReplica {
  /** The server's memory has reached maxmemory. */
  isFull = false;
  /**
   * By owner: what is known about the acquisition, and when a key was given back. Covers all runs
   * of the server.
   */
  readonly written = new Map<string, Written>();
  readonly releasedAt = new Map<string, { at: number; runId: string }>();
  private readonly tracked = new Map<string, Set<number>>();
  /** By tracking client: the client that gets the notices. */
  protected readonly redirects = new Map<number, number>();

  /** A client gets a notice of client tracking. */
  protected abstract onInvalidated(client: number, key: string): void;

  override restart(withSnapshot = false): void {
    this.tracked.clear();
    this.redirects.clear();
    this.isFull = false;
    super.restart(withSnapshot);
  }

  protected noteWritten(): void {
    for (const [i, { entry, field }] of this.writes.entries()) {
      const isOfAll = entry === undefined || isHash(entry.value);
      const owners = field !== undefined ? [field] : isOfAll ? [] : ownersIn(entry.value);
      for (const owner of owners)
        this.written.set(owner, {
          at: this.world.now,
          offset: this.offset + i + 1,
          links: [...this.links.values()],
        });
    }
  }

  /** A write by another program or by an operator. */
  put(key: string, value: string, px: number): void {
    this.writes.push(this.write(key, { value, expiresAt: this.wall() + px }, undefined));
    this.propagate();
  }

  protected find(key: string): { value: string; expiresAt: number } | undefined {
    const entry = this.data.get(key);
    return entry !== undefined && entry.expiresAt > this.wall() ? entry : undefined;
  }

  pttl(key: string): number {
    const entry = this.find(key);
    if (entry === undefined) return -2;
    return entry.expiresAt === Infinity ? -1 : entry.expiresAt - this.wall();
  }

  /** The owners that hold the key, or keep it busy. */
  holdersAt(key: string): string[] {
    const value = this.find(key)?.value;
    if (value === undefined || !isHash(value))
      return [...(value ?? '').matchAll(/^(rl:[^ ~]+)~? /g)].map(([, owner]) => owner!);
    const isOpen = (permit: string): boolean => Number(permit.split(' ')[1]) > this.wall();
    return [...fieldsOf(value)]
      .filter(([owner, permit]) => owner !== '' && isOpen(permit))
      .map(([owner]) => owner);
  }

  valueAt(key: string): string | undefined {
    return this.find(key)?.value;
  }

  /**
   * The data for one run of a script. After the first write, a full memory does not stop the
   * script.
   */
  protected view(id: number): Data {
    let hasWritten = false;
    const view: Data = {
      get: (key) => {
        if (this.redirects.has(id)) {
          const readers = this.tracked.get(key) ?? new Set();
          this.tracked.set(key, readers.add(id));
        }
        const value = this.find(key)?.value;
        return value === undefined || isHash(value) ? null : value;
      },
      hash: (key) => {
        view.get(key);
        const value = this.find(key)?.value;
        return value === undefined || isHash(value) ? fieldsOf(value) : undefined;
      },
      exists: (key) => this.find(key) !== undefined,
      hset: (key, fields) => {
        if (this.isFull && !hasWritten) throw new OutOfMemory();
        hasWritten = true;
        const entry = this.find(key);
        const all = new Map([...fieldsOf(entry?.value), ...Object.entries(fields)]);
        const field = Object.keys(fields).find((name) => name !== '');
        const expiresAt = entry?.expiresAt ?? Infinity;
        this.writes.push({ ...this.write(key, { value: hashOf(all), expiresAt }, id), field });
      },
      hdel: (key, field) => {
        hasWritten = true;
        const entry = this.find(key);
        const all = new Map(fieldsOf(entry?.value));
        if (entry === undefined || !all.delete(field)) return;
        const left = all.size > 0 ? { value: hashOf(all), expiresAt: entry.expiresAt } : undefined;
        this.writes.push(this.write(key, left, id));
      },
      pttl: (key) => this.pttl(key),
      now: () => Math.floor(this.wall() * 1000),
      set: (key, value, px) => {
        if (this.isFull && !hasWritten) throw new OutOfMemory();
        hasWritten = true;
        this.writes.push(this.write(key, { value, expiresAt: this.wall() + px }, id));
      },
      pexpire: (key, px) => {
        hasWritten = true;
        const value = this.find(key)?.value;
        if (value !== undefined)
          this.writes.push(this.write(key, { value, expiresAt: this.wall() + px }, id));
      },
      setNew: (key, value, px) => {
        if (this.isFull && !hasWritten) throw new OutOfMemory();
        hasWritten = true;
        if (this.find(key) !== undefined) return false;
        this.writes.push(this.write(key, { value, expiresAt: this.wall() + px }, id));
        return true;
      },
      del: (key) => {
        hasWritten = true;
        if (this.find(key) !== undefined) this.writes.push(this.write(key, undefined, id));
      },
    };
    return view;
  }

  protected write(
    key: string,
    entry: { value: string; expiresAt: number } | undefined,
    writer: number | undefined,
  ) {
    const left = ownersIn(entry?.value);
    for (const owner of ownersIn(this.find(key)?.value, this.wall()))
      if (!left.includes(owner)) this.releasedAt.set(owner, { at: this.world.now, runId: this.runId });
    if (entry === undefined) this.data.delete(key);
    else this.data.set(key, entry);
    for (const reader of this.tracked.get(key) ?? []) {
      // NOLOOP: the writer itself gets no notice.
      if (reader !== writer) this.onInvalidated(this.redirects.get(reader) ?? 0, key);
    }
    this.tracked.delete(key);
    return { key, entry };
  }
}

/** A hash is kept as one value: this mark, and the fields as JSON. */
const HASH = '#';

function isHash(value: string): boolean {
  return value.startsWith(HASH);
}

export function hashOf(fields: ReadonlyMap<string, string>): string {
  return HASH + JSON.stringify([...fields]);
}

function fieldsOf(value: string | undefined): ReadonlyMap<string, string> {
  if (value === undefined || !isHash(value)) return new Map();
  return new Map(JSON.parse(value.slice(HASH.length)) as [string, string][]);
}

/**
 * The owners that hold a key with this value, apart from those in their cooldown, and apart from
 * permits that have ended at `now`, in ms by the server's clock.
 */
function ownersIn(value = '', now = 0): string[] {
  if (!isHash(value)) return [...value.matchAll(/^(rl:[^ ~]+) /g)].map(([, owner]) => owner!);
  return [...fieldsOf(value)]
    .filter(([owner, permit]) => owner !== '' && !permit.endsWith('~') && Number(permit.split(' ')[1]) > now)
    .map(([owner]) => owner);
}
