import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { GroupScript, type Script } from '../../lib/store/redis/scripts/script.js';
import { OutOfMemory, type Data } from '../../simulation/script-data.js';
import { scriptsBySha } from '../../simulation/scripts.js';
import { Dice } from '../../simulation/world.js';
import { luaScripts } from '../support/lua-scripts.js';
import { startRedis, type RedisProcess } from '../support/redis-process.js';

const ROUNDS = 120;
const KEYS = ['k1', 'k2', 'k3'];
const OWNERS = ['rl:a:1', 'rl:a:12', 'rl:b:1'];
/** Tokens of the future, so that neither clock decides. */
const FUTURE = 8_000_000_000_000_000;
/** Times to live in ms. Each cause has a value of its own, so that no two can be confused. */
const [STANDING, LEASE, COOLDOWN, TOMBSTONE] = [60_000, 90_000, 120_000, 30_000];

const scripts = await luaScripts();

/** The limits of permits, the last one without end. */
const LIMITS = [2, 3, 4, 1_000_000_000];

interface Entry {
  readonly value: string | ReadonlyMap<string, string>;
  readonly px: number;
}

/** ms since 1970 at which the clock of the simulated data stands. */
const FROZEN_AT = 1_700_000_000_000;

/** The data of a server whose clock stands still. */
class FrozenData implements Data {
  readonly entries = new Map<string, Entry>();
  private hasWritten = false;

  constructor(private readonly isFull: boolean) {}

  get(key: string): string | null {
    const value = this.entries.get(key)?.value;
    return typeof value === 'string' ? value : null;
  }

  hash(key: string): ReadonlyMap<string, string> | undefined {
    const value = this.entries.get(key)?.value ?? new Map<string, string>();
    return typeof value === 'string' ? undefined : value;
  }

  exists(key: string): boolean {
    return this.entries.has(key);
  }

  hset(key: string, fields: Readonly<Record<string, string>>): void {
    this.needMemory();
    const value = new Map([...this.hash(key)!, ...Object.entries(fields)]);
    this.entries.set(key, { value, px: this.entries.get(key)?.px ?? -1 });
  }

  hdel(key: string, field: string): void {
    const value = new Map(this.hash(key));
    if (value.delete(field)) this.hasWritten = true;
    if (value.size === 0) this.entries.delete(key);
    else this.entries.set(key, { value, px: this.pttl(key) });
  }

  pttl(key: string): number {
    return this.entries.get(key)?.px ?? -2;
  }

  now(): number {
    return FROZEN_AT * 1_000;
  }

  set(key: string, value: string, px: number): void {
    this.needMemory();
    this.entries.set(key, { value, px });
  }

  setNew(key: string, value: string, px: number): boolean {
    this.needMemory();
    if (this.entries.has(key)) return false;
    // A key that expires at once was never there.
    if (px > 0) this.entries.set(key, { value, px });
    return true;
  }

  pexpire(key: string, px: number): void {
    this.hasWritten = true;
    const entry = this.entries.get(key);
    if (entry !== undefined) this.entries.set(key, { ...entry, px });
  }

  del(key: string): void {
    this.hasWritten = true;
    this.entries.delete(key);
  }

  private needMemory(): void {
    if (this.isFull && !this.hasWritten) throw new OutOfMemory();
    this.hasWritten = true;
  }
}

const inTens = (ms: number): string => `${Math.round(ms / 10_000) * 10 + 0} s`;

/**
 * Makes two values equal: tokens of free keys, which come from the clock, and times, which have run
 * on a little. `now`: ms by the clock from which the value comes.
 */
function comparable(value: unknown, now: number): unknown {
  if (Array.isArray(value)) {
    // A refusal names any holder of the key, and knows the leases of few.
    const isShared = value.length === 6 && value[1] !== '';
    return value.map((each, i) => (isShared && (i === 1 || i === 5) ? 'of a holder' : comparable(each, now)));
  }
  if (value instanceof Map)
    return Object.fromEntries([...value].map(([field, text]) => [field, comparable(text, now)]));
  if (typeof value === 'number') return value > 100 ? inTens(value) : value;
  if (typeof value !== 'string') return value;
  return value
    .replace(/^WRONGTYPE.*/s, 'WRONGTYPE')
    .replaceAll(/(?<=^| )1\d{15}(?= |$)/g, 'clock')
    .replaceAll(/(?<=^| )1\d{12}(?= |$)/g, (at) => inTens(Number(at) - now));
}

/** A hash with permits of some owners, or of another program. */
function hashBy(dice: Dice, token: number): (now: number) => Record<string, string> {
  if (dice.chance(0.1)) return () => ({ basket: 'apples' });
  const permits = OWNERS.filter(() => dice.chance(0.5)).map((owner) => ({
    owner,
    end: dice.pick([STANDING, STANDING, -5_000]),
    limit: dice.pick(LIMITS),
    mark: dice.pick(['', '', ' ~']),
  }));
  const isStale = dice.chance(0.5);
  const least = Math.min(1_000_000_000, ...permits.map(({ limit }) => limit)) - (isStale ? 1 : 0);
  const first = Math.min(STANDING, ...permits.map(({ end }) => end));
  const exact = isStale ? 0 : dice.pick([0, 1]);
  const [wanted, till] = dice.pick([[0], [0], [1, STANDING], [2, STANDING], [3, -5_000], [2, 300]]);
  return (now) => ({
    '': [token, now + first, least, `${wanted} ${till === undefined ? 0 : now + till}`, exact].join(' '),
    ...Object.fromEntries(
      permits.map(({ owner, end, limit, mark }) => [owner, `${token} ${now + end} ${limit}${mark}`]),
    ),
  });
}

/** The answer of a Lua script's twin, or the beginning of its error. */
function simulated(script: Script, data: Data, keys: readonly string[], args: readonly unknown[]): unknown {
  try {
    return scriptsBySha.get(script.sha)!(data, keys, args.map(String));
  } catch (error) {
    if (error instanceof OutOfMemory) return 'OOM';
    throw error;
  }
}

describe('The simulation’s twin of the Lua script', () => {
  let redis: RedisProcess;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.dispose());

  it.each(
    scripts.flatMap(([name, script]) => [
      [name, 'with memory enough', script, false] as const,
      [name, 'with a full memory', script, true] as const,
    ]),
  )(
    '%s does what the script does on a real server %s',
    async (_, __, script, isFull) => {
      const client = redis.client();
      const dice = new Dice(7);
      for (let round = 0; round < ROUNDS; round++) {
        const data = new FrozenData(isFull);
        const token = FUTURE + round;
        const startedAt = Date.now();
        await client.del(...KEYS);
        for (const key of KEYS) {
          const value = dice.pick([
            null,
            ...Array.from({ length: 5 }, () => hashBy(dice, token)),
            'basket',
            '42',
            `${token}`,
            ...OWNERS.flatMap((owner) => [
              `${owner} ${token}`,
              `${owner}~ ${token}`,
              `${owner}= ${token} {"a":1}`,
            ]),
          ]);
          if (value === null) continue;
          if (typeof value === 'function') {
            data.entries.set(key, { value: new Map(Object.entries(value(FROZEN_AT))), px: STANDING });
            await client.hset(key, value(startedAt));
            await client.pexpire(key, STANDING);
            continue;
          }
          data.entries.set(key, { value, px: STANDING });
          await client.set(key, value, 'PX', STANDING);
        }
        const calls = Array.from({ length: dice.pick([1, 2, 3]) }, () => ({
          keys: KEYS.filter(() => dice.chance(0.6)),
          owner: dice.pick(OWNERS),
          ttl: LEASE,
          limit: dice.pick([1, ...LIMITS]),
          wait: dice.pick([0, 100, 1_500]),
          floor: dice.pick([0, token - 5, token + 5]),
          token: dice.pick([0, token, token - 1]),
          cooldown: dice.pick([0, COOLDOWN]),
          tombstone: TOMBSTONE,
          purpose: dice.pick(['hold', 'cooldown'] as const),
          result: dice.pick(['', '{"a":2}', '42']),
        })).map((call) => (call.keys.length > 0 ? call : { ...call, keys: ['k1'] }));
        const [keys, args] =
          script instanceof GroupScript
            ? [script.keysOf(calls), script.argsOf(calls)]
            : [[dice.pick(KEYS)], [TOMBSTONE, dice.pick(['', ...OWNERS])]];

        if (isFull) await client.config('SET', 'maxmemory', 1);
        const real: unknown = await client
          .eval(script.lua, keys.length, ...keys, ...args)
          .catch((error: Error) => error.message.match(/^(OOM|WRONGTYPE)/)?.[1] ?? error.message);
        if (isFull) await client.config('SET', 'maxmemory', 0);
        const standing = [...data.entries].map(([key, { value }]) => [key, comparable(value, FROZEN_AT)]);
        const twin = simulated(script, data, keys, args);
        const context = { standing, calls: script instanceof GroupScript ? calls : keys };
        expect({ ...context, reply: comparable(twin, FROZEN_AT) }).toEqual({
          ...context,
          reply: comparable(real, startedAt),
        });
        for (const key of KEYS) {
          const isHash = (await client.type(key)) === 'hash';
          const theirs = isHash ? new Map(Object.entries(await client.hgetall(key))) : await client.get(key);
          const mine = data.entries.get(key)?.value ?? null;
          expect({ ...context, [key]: [comparable(mine, FROZEN_AT), inTens(data.pttl(key))] }).toEqual({
            ...context,
            [key]: [comparable(theirs, startedAt), inTens(await client.pttl(key))],
          });
        }
      }
      client.disconnect();
    },
    30_000,
  );
});
