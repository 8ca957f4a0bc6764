import { Script, TOMBSTONE_TIME } from './script.js';
import { KEPT } from './value.js';

/*
 * Releases one or more locks, or takes an attempt back: the same thing. Each key that the owner still holds keeps its bare token for a
 * while, so that the next grant's token is greater; or stays busy, marked so that nobody holds it and no renewal brings it back.
 *
 * KEYS  the keys of the first lock, then those of the second, ...
 * ARGV  for each lock: number of keys, owner, milliseconds for which the keys stay busy
 * reply for each lock: 1 if the owner held all its keys, else 0
 */
const RELEASE = new Script(`
local call, sub, replies, first = redis.call, string.sub, {}, 0
for a = 1, #ARGV, 3 do
  local count, owner, keep = tonumber(ARGV[a]), ARGV[a + 1], ARGV[a + 2]
  local own, kept = owner .. ' ', owner .. '${KEPT} '
  local ours = 1
  for i = 1, count do
    local key = KEYS[first + i]
    local value = redis.pcall('GET', key)
    local token
    if type(value) == 'string' then
      if sub(value, 1, #own) == own then
        token = sub(value, #own + 1)
      elseif sub(value, 1, #kept) == kept then
        token = sub(value, #kept + 1)
      end
    end
    if not token then
      ours = 0
    elseif keep ~= '0' then
      call('SET', key, kept .. token, 'PX', keep)
    else
      call('SET', key, token, 'PX', '${TOMBSTONE_TIME}')
    end
  end
  replies[#replies + 1] = ours
  first = first + count
end
return replies
`);

export interface ReleaseCall {
  readonly keys: readonly string[];
  readonly owner: string;
  /** ms for which the keys stay busy; 0 frees them. */
  readonly keepFor: number;
}

export const releaseScript = {
  script: RELEASE,
  args: ({ keys, owner, keepFor }: ReleaseCall): (string | number)[] => [
    keys.length,
    owner,
    Math.ceil(keepFor),
  ],
};
