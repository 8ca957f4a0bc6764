import { ErrorReply, type Reply } from '../connection.js';
import { Script } from './script.js';
import { parseValue } from './value.js';
import type { Holder } from '../../lock-store.js';

/*
 * Takes the keys of one or more requests, each request all or nothing.
 *
 * KEYS  the keys of the first request, then those of the second, ...
 * ARGV  for each request: number of keys, owner, milliseconds to live, the least that its token may be
 * reply for each request: the token, or [index of the key that is not free, its value, its PTTL], or [index, the error of reading it]
 *
 * A key that this owner holds already is written again with its token: WAIT covers only what this connection wrote, and an answer may
 * have been lost. The token is the largest of the last one + 1, the clock in microseconds, and the floor: that of keys which the same
 * lock holds in other slots.
 * What is found busy was read, so that client tracking tells of its release. What is taken is not: that would cost as much as all the rest, and most locks are
 * given back before anybody could have changed them (see `Watches`). So a single key is first tried as a free one, without being read.
 */
const ACQUIRE = new Script(`
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local fresh = string.format('%.0f', now)
local replies, first = {}, 0

local function take(count, own, ttl, token)
  for i = 1, count do
    local key = KEYS[first + i]
    local value = redis.pcall('GET', key)
    if type(value) == 'table' then
      return {i - 1, value.err}
    elseif value and string.sub(value, 1, #own) == own then
      token = math.max(token, tonumber(string.sub(value, #own + 1)))
    elseif not value then
      token = math.max(token, now)
    elseif #value == 16 and string.find(value, '^%d+$') then
      token = math.max(token, now, tonumber(value) + 1)
    else
      return {i - 1, string.sub(value, 1, 512), redis.call('PTTL', key)}
    end
  end
  local reply = string.format('%.0f', token)
  for i = 1, count do
    redis.call('SET', KEYS[first + i], own .. reply, 'PX', ttl)
  end
  return reply
end

for a = 1, #ARGV, 4 do
  local count, own, ttl, floor = tonumber(ARGV[a]), ARGV[a + 1] .. ' ', ARGV[a + 2], tonumber(ARGV[a + 3])
  if count == 1 and floor <= now and redis.call('SET', KEYS[first + 1], own .. fresh, 'PX', ttl, 'NX') then
    replies[#replies + 1] = fresh
  else
    replies[#replies + 1] = take(count, own, ttl, floor)
  end
  first = first + count
end
return replies
`);

export interface AcquireCall {
  readonly keys: readonly string[];
  readonly owner: string;
  readonly ttl: number;
  readonly floor: number;
}

export type AcquireAnswer =
  | { readonly kind: 'written'; readonly token: number }
  | { readonly kind: 'busy'; readonly index: number; readonly holder: Holder }
  | { readonly kind: 'foreign'; readonly index: number; readonly found: string }
  | { readonly kind: 'refused'; readonly error: ErrorReply };

export const acquireScript = {
  script: ACQUIRE,
  args: ({ keys, owner, ttl, floor }: AcquireCall): (string | number)[] => [keys.length, owner, ttl, floor],
  answer(reply: Reply | undefined): AcquireAnswer {
    if (typeof reply === 'string') return { kind: 'written', token: Number(reply) };
    const [index, text, pttl] = reply as [number, string, number?];
    if (pttl === undefined) {
      const error = new ErrorReply(text);
      return error.code === 'WRONGTYPE'
        ? { kind: 'foreign', index, found: 'a value that is no string' }
        : { kind: 'refused', error };
    }
    const value = parseValue(text, pttl);
    return value.kind === 'held'
      ? { kind: 'busy', index, holder: value.holder }
      : { kind: 'foreign', index, found: value.kind === 'foreign' ? value.found : 'a bare token' };
  },
};
