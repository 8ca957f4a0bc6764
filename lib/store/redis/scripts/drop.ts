import { TOKEN_OF } from './keep.js';
import type { ReleaseCall } from './release.js';
import { GroupScript, READ_ALL, WRITE } from './script.js';

/**
 * Takes back results that were not confirmed, whether or not they were written.
 *
 * KEYS    the keys of each lock in turn
 * ARGV    for each series of like locks: their number, the number of keys of each, `tombstone`;
 *         then the owner and the token of each lock (see `GroupScript`)
 * Reply   for each lock: 1 if its keys held the lock, its result or its bare token, else 0
 * Writes  to each key that the owner holds or left its result in: the bare token for `tombstone`
 *         ms, so that the next grant gets a greater token
 */
export const dropScript = new GroupScript<ReleaseCall, boolean>({
  common: ['tombstone'],
  own: ['token'],
  before: `${READ_ALL}${WRITE}${TOKEN_OF}`,
  each: `
    local ours = 1
    for i = 1, count do
      local key = KEYS[first + i]
      local bare = tokenOf(found[key], owner)
      if bare then
        found[key] = bare
        write(key, bare, tombstone)
      elseif found[key] ~= token then
        ours = 0
      end
    end
    replies[#replies + 1] = ours
`,
  decode: (reply) => reply === 1,
});
