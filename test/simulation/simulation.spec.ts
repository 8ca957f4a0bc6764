import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Script } from '../../lib/store/redis/scripts/script.js';
import { acquireScript } from '../../lib/store/redis/scripts/acquire.js';
import { FORCE_RELEASE } from '../../lib/store/redis/scripts/force-release.js';
import { checkOwnerScript } from '../../lib/store/redis/scripts/check-owner.js';
import { releaseScript } from '../../lib/store/redis/scripts/release.js';
import { renewScript } from '../../lib/store/redis/scripts/renew.js';
import { OutOfMemory, scriptsBySha, type Data } from '../../simulation/scripts.js';
import { runSchedule } from '../../simulation/schedule.js';
import { Dice } from '../../simulation/world.js';
import { startRedis, type RedisProcess } from '../support/redis-process.js';

describe('The library in a simulated deployment', () => {
  it('has one holder a key, growing tokens and nothing left behind, whatever goes wrong', async () => {
    const { random } = Math;
    try {
      for (let seed = 900_001; seed <= 900_100; seed++) {
        const { violations, history } = await runSchedule(seed);
        if (violations.length > 0)
          throw new Error(`seed ${seed}: ${violations.join('; ')}\n${history().join('\n')}`);
      }
    } finally {
      Math.random = random;
    }
  }, 90_000);
});

/** A free key's token is the clock's, and a time to live has run on: only that they are such can be compared. */
function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value === 'number' && value > 50_000) return 'time to live';
  return typeof value === 'string' ? value.replace(/(^| )(0|1\d{15})$/, '$1clock') : value;
}

/** What the twin of a Lua script answers, or the beginning of its error. */
function simulated(script: Script, model: Data, keys: readonly string[], args: readonly unknown[]): unknown {
  try {
    return scriptsBySha.get(script.sha)!(model, keys, args.map(String));
  } catch (error) {
    if (error instanceof OutOfMemory) return 'OOM';
    throw error;
  }
}

describe('The simulation’s scripts', () => {
  let redis: RedisProcess;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.dispose());

  it.each([
    ['with memory enough', false],
    ['with a full memory', true],
  ])(
    'do what the Lua scripts do on a real server %s',
    async (_, isFull) => {
      const client = redis.client();
      const dice = new Dice(7);
      const keys = ['k1', 'k2', 'k3'];
      const owners = ['rl:a:1', 'rl:a:12', 'rl:b:1'];
      // Tokens of the future, so that neither clock decides.
      const future = 8_000_000_000_000_000;
      for (let round = 0; round < 400; round++) {
        const state = new Map<string, string>();
        let hasWritten = false;
        for (const key of keys) {
          const value = dice.pick([
            null,
            'basket',
            '42',
            `${future + round}`,
            ...owners.flatMap((owner) => [`${owner} ${future + round}`, `${owner}~ ${future + round}`]),
          ]);
          await client.del(key);
          if (value === null) continue;
          state.set(key, value);
          await client.set(key, value, 'PX', 60_000);
        }
        const model: Data = {
          get: (key) => state.get(key) ?? null,
          pttl: () => 60_000,
          now: () => 0,
          set: (key, value) => {
            if (isFull && !hasWritten) throw new OutOfMemory();
            hasWritten = true;
            state.set(key, value);
          },
          setNew: (key, value, px) => {
            if (isFull && !hasWritten) throw new OutOfMemory();
            hasWritten = true;
            if (state.has(key)) return false;
            // What expires at once was never there.
            if (px > 0) state.set(key, value);
            return true;
          },
          pexpire: () => (hasWritten = true),
          del: (key) => {
            hasWritten = true;
            state.delete(key);
          },
        };
        const calls = Array.from({ length: dice.pick([1, 2, 3]) }, () => ({
          keys: keys
            .filter(() => dice.chance(0.6))
            .concat(dice.chance(0.1) ? [] : ['k1'])
            .filter((key, i, all) => all.indexOf(key) === i),
          owner: dice.pick(owners),
          ttl: 60_000,
          floor: dice.pick([0, future + round - 5, future + round + 5]),
          token: dice.pick([0, future + round, future + round - 1]),
          cooldown: dice.pick([0, 60_000]),
          purpose: dice.pick(['hold', 'cooldown'] as const),
        })).filter((call) => call.keys.length > 0);
        const [script, args] = dice.pick<[Script, (string | number)[]]>([
          [acquireScript, acquireScript.argsOf(calls)],
          [renewScript, renewScript.argsOf(calls)],
          [releaseScript, releaseScript.argsOf(calls)],
          [checkOwnerScript, checkOwnerScript.argsOf(calls)],
          [FORCE_RELEASE, []],
        ]);
        const scriptKeys = script === FORCE_RELEASE ? ['k1'] : calls.flatMap((call) => call.keys);
        if (isFull) await client.config('SET', 'maxmemory', 1);
        const real = await client
          .eval(script.lua, scriptKeys.length, ...scriptKeys, ...args)
          .catch((error: Error) => error.message.slice(0, 3));
        if (isFull) await client.config('SET', 'maxmemory', 0);
        expect(comparable(simulated(script, model, scriptKeys, args))).toEqual(comparable(real));
        for (const key of keys) {
          const [mine, theirs] = [state.get(key) ?? null, await client.get(key)].map(comparable);
          expect(mine).toBe(theirs);
        }
      }
      client.disconnect();
    },
    30_000,
  );
});
