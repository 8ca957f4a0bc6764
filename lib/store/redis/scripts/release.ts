import { GroupScript, TOMBSTONE_TIME, type ScriptCall } from './script.js';
import { KEPT } from './value.js';

export interface ReleaseCall extends ScriptCall {
  /** ms for which the keys stay busy; 0 frees them. */
  readonly keepFor: number;
}

/**
 * Releases one or more locks, or takes an attempt back: the same thing. Each key that the owner still holds keeps its bare token for a
 * while, so that the next grant's token is greater; or stays busy, marked so that nobody holds it and no renewal brings it back.
 *
 * Reply for each lock: 1 if the owner held all its keys, else 0.
 */
export const releaseScript = new GroupScript<ReleaseCall>({
  common: ['keepFor'],
  each: `
    local own, kept, ours = owner .. ' ', owner .. '${KEPT} ', 1
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
      elseif keepFor ~= '0' then
        call('SET', key, kept .. token, 'PX', keepFor)
      else
        call('SET', key, token, 'PX', '${TOMBSTONE_TIME}')
      end
    end
    replies[#replies + 1] = ours
`,
});
