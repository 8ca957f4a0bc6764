import { GroupScript, READ_ALL, TOMBSTONE_TIME, WRITE, type ScriptCall } from './script.js';
import { COOLDOWN_MARK } from './value.js';

export interface ReleaseCall extends ScriptCall {
  /** The lock's token; 0 for an attempt whose answer never came. */
  readonly token: number;
  /** ms for which the keys stay busy; 0 frees them. */
  readonly cooldown: number;
}

/**
 * Releases one or more locks, or takes an attempt back: the same thing. Each key that the owner still holds keeps its bare token for a
 * while, so that the next grant's token is greater; or stays busy, marked so that nobody holds it and no renewal brings it back.
 *
 * A release whose answer was lost is sent again. So a key that holds the bare token of this very lock counts as released by it: every
 * later grant has a greater token, so nobody has held the key since. A key that is kept busy already stays so until then, and no longer.
 *
 * Reply for each lock: 1 if the owner held all its keys, or had released them, else 0.
 */
export const releaseScript = new GroupScript<ReleaseCall>({
  common: ['cooldown'],
  own: ['token'],
  before: READ_ALL + WRITE,
  each: `
    local own, kept, ours = owner .. ' ', owner .. '${COOLDOWN_MARK} ', 1
    for i = 1, count do
      local key = KEYS[first + i]
      local value = found[key]
      local bare
      if type(value) ~= 'string' then
        ours = 0
      elseif sub(value, 1, #own) == own then
        bare = sub(value, #own + 1)
        if cooldown ~= '0' then
          found[key] = kept .. bare
          write(key, found[key], cooldown)
          bare = nil
        end
      elseif sub(value, 1, #kept) == kept then
        if cooldown == '0' then
          bare = sub(value, #kept + 1)
        end
      elseif value ~= token then
        ours = 0
      end
      if bare then
        found[key] = bare
        write(key, bare, '${TOMBSTONE_TIME}')
      end
    end
    replies[#replies + 1] = ours
`,
});
