import { FORGET, GroupScript, READ_ALL } from './script.js';

export const UNREADABLE = -1;

/**
 * Looks whether locks are still held, and makes client tracking watch their keys: every key is read, whatever was found before it.
 *
 * Reply for each lock: 0, or the position (from 1) of the first key that its owner does not hold, or -1 where the server would not read one.
 */
export const checkOwnerScript = new GroupScript({
  common: [],
  before: `${READ_ALL}
local absent
`,
  each: `
    local own, gone = owner .. ' ', 0
    for i = count, 1, -1 do
      local value = found[KEYS[first + i]]
      if type(value) == 'table' and sub(value.err, 1, 9) ~= 'WRONGTYPE' then
        gone = ${UNREADABLE}
        break
      elseif type(value) ~= 'string' or sub(value, 1, #own) ~= own then
        gone = i
        if not value then
          absent = absent or {}
          absent[#absent + 1] = KEYS[first + i]
        end
      end
    end
    replies[#replies + 1] = gone
`,
  after: FORGET,
});
