import { Script } from './script.js';

/*
 * Looks whether locks are still held, and makes client tracking watch their keys.
 *
 * KEYS  the keys of the first lock, then those of the second, ...
 * ARGV  for each lock: number of keys, owner
 * reply for each lock: 0, or the position (from 1) of the first key that its owner does not hold
 *
 * Every key is read, whatever was found before it.
 */
const LOOK = new Script(`
local replies, first = {}, 0
for a = 1, #ARGV, 2 do
  local count, own, gone = tonumber(ARGV[a]), ARGV[a + 1] .. ' ', 0
  for i = count, 1, -1 do
    local value = redis.pcall('GET', KEYS[first + i])
    if type(value) ~= 'string' or string.sub(value, 1, #own) ~= own then gone = i end
  end
  replies[#replies + 1] = gone
  first = first + count
end
return replies
`);

export interface LookCall {
  readonly keys: readonly string[];
  readonly owner: string;
}

export const lookScript = {
  script: LOOK,
  args: ({ keys, owner }: LookCall): (string | number)[] => [keys.length, owner],
};
