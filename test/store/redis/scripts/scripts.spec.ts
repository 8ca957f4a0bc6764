import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { luaScripts } from '../../../support/lua-scripts.js';
import { startRedis, type RedisProcess } from '../../../support/redis-process.js';

const scripts = await luaScripts();

describe('The Lua script', () => {
  let redis: RedisProcess;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.dispose());

  it.each(scripts)('%s compiles on a real server, under the hash that EVALSHA sends', async (_, script) => {
    expect(await redis.call('SCRIPT', 'LOAD', script.lua)).toBe(script.sha);
  });

  it('has a file of its own', () => {
    expect(scripts.map(([file]) => file)).toEqual([
      'acquire-permit',
      'acquire',
      'check-owner',
      'check-permit',
      'drop',
      'force-release',
      'keep',
      'release-permit',
      'release',
      'renew-permit',
      'renew',
    ]);
  });
});
