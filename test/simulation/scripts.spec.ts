import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { GroupScript, type Script } from '../../lib/store/redis/scripts/script.js';
import { OutOfMemory, scriptsBySha, type Data } from '../../simulation/scripts.js';
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

interface Entry {
  readonly value: string;
  readonly px: number;
}

/** The data of a server whose clock stands still. */
class FrozenData implements Data {
  readonly entries = new Map<string, Entry>();
  private hasWritten = false;

  constructor(private readonly isFull: boolean) {}

  get(key: string): string | null {
    return this.entries.get(key)?.value ?? null;
  }

  pttl(key: string): number {
    return this.entries.get(key)?.px ?? -2;
  }

  now(): number {
    return 0;
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

/**
 * Makes two values equal: tokens of free keys, which come from the clock, and times to live, which
 * have run on a little.
 */
function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value === 'number') return value > 1_000 ? `${Math.ceil(value / 10_000) * 10} s` : value;
  return typeof value === 'string' ? value.replace(/(^| )(0|1\d{15})$/, '$1clock') : value;
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
        await client.del(...KEYS);
        for (const key of KEYS) {
          const value = dice.pick([
            null,
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
          data.entries.set(key, { value, px: STANDING });
          await client.set(key, value, 'PX', STANDING);
        }
        const calls = Array.from({ length: dice.pick([1, 2, 3]) }, () => ({
          keys: KEYS.filter(() => dice.chance(0.6)),
          owner: dice.pick(OWNERS),
          ttl: LEASE,
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
            : [[dice.pick(KEYS)], [TOMBSTONE]];

        if (isFull) await client.config('SET', 'maxmemory', 1);
        const real: unknown = await client
          .eval(script.lua, keys.length, ...keys, ...args)
          .catch((error: Error) => error.message.slice(0, 3));
        if (isFull) await client.config('SET', 'maxmemory', 0);
        const standing = [...data.entries];
        const twin = simulated(script, data, keys, args);
        const context = { standing, calls: script instanceof GroupScript ? calls : keys };
        expect({ ...context, reply: comparable(twin) }).toEqual({ ...context, reply: comparable(real) });
        for (const key of KEYS) {
          const theirs = [await client.get(key), await client.pttl(key)];
          const mine = [data.get(key), data.pttl(key)];
          expect({ ...context, [key]: comparable(mine) }).toEqual({ ...context, [key]: comparable(theirs) });
        }
      }
      client.disconnect();
    },
    30_000,
  );
});
