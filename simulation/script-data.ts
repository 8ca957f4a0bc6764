import type { Reply } from '../lib/store/redis/resp.js';

/** What a script may do to a server's data. */
export interface Data {
  /** Null for a missing key, and for a hash, as MGET answers. */
  get(key: string): string | null;
  /** The fields of a hash, none for a missing key. Undefined for a string. */
  hash(key: string): ReadonlyMap<string, string> | undefined;
  exists(key: string): boolean;
  /** Sets fields of a hash, and keeps its expiry. Throws `OutOfMemory` like `set`. */
  hset(key: string, fields: Readonly<Record<string, string>>): void;
  /** Without a field left, the key is gone. */
  hdel(key: string, field: string): void;
  pttl(key: string): number;
  /** Throws `OutOfMemory` if memory is full and the script has written nothing before. */
  set(key: string, value: string, px: number): void;
  /** Like `set` with NX: false if the key exists. The key is not read. */
  setNew(key: string, value: string, px: number): boolean;
  pexpire(key: string, px: number): void;
  del(key: string): void;
  /** µs since 1970 by the server's clock. */
  now(): number;
}

/** The server refuses a write that needs memory, which ends the script. */
export class OutOfMemory extends Error {}

export type SimScript = (data: Data, keys: readonly string[], args: readonly string[]) => Reply;

export interface SimCall {
  readonly keys: readonly string[];
  readonly owner: string;
  readonly common: readonly string[];
  /** Arguments that differ from call to call, except the owner. */
  readonly rest: readonly string[];
}

/** Splits the arguments into calls: see `GroupScript`. */
export function* callsOf(
  keys: readonly string[],
  args: readonly string[],
  commonCount: number,
  restCount = 0,
): Generator<SimCall> {
  let first = 0;
  for (let at = 0; at < args.length;) {
    const [calls, count] = [Number(args[at]), Number(args[at + 1])];
    const owners = at + 2 + commonCount;
    const common = args.slice(at + 2, owners);
    const width = 1 + restCount;
    at = owners + calls * width;
    for (let place = owners; place < at; place += width) {
      const [owner = '', ...rest] = args.slice(place, place + width);
      yield { keys: keys.slice(first, first + count), owner, common, rest };
      first += count;
    }
  }
}

/** A write that a full memory does not stop. */
export function write(data: Data, key: string, value: string, px: number): void {
  try {
    data.set(key, value, px);
  } catch (error) {
    if (!(error instanceof OutOfMemory)) throw error;
    data.pexpire(key, px);
    data.set(key, value, px);
  }
}

/** Makes client tracking forget keys that were read while they were missing. */
export function forget(data: Data, keys: readonly string[]): void {
  for (const key of keys) {
    try {
      data.setNew(key, '', 0);
    } catch (error) {
      if (!(error instanceof OutOfMemory)) throw error;
    }
  }
}
