import { Script } from './script.js';
import type { RenewPurpose } from '../../lock-store.js';
import type { Reply } from '../connection.js';
import { KEPT } from './value.js';

/*
 * Extends the leases of one or more locks. Never creates a key: what is gone stays gone.
 *
 * KEYS  the keys of the first lock, then those of the second, ...
 * ARGV  for each lock: number of keys, owner, milliseconds to live, and what is put behind the owner's name: nothing, or the mark of a lock
 *       that was given back and whose keys only stay busy
 * reply for each lock: 0, or the position (from 1) of the first key that its owner does not hold; then none of them was extended
 *
 * It writes the value again instead of moving the expiry, so that a replica that lost the key has it again, and WAIT has
 * something to wait for. The GET behind it makes client tracking watch the key again.
 */
const RENEW = new Script(`
local replies, first = {}, 0
for a = 1, #ARGV, 4 do
  local count, own, ttl = tonumber(ARGV[a]), ARGV[a + 1] .. ' ', ARGV[a + 2]
  local target = ARGV[a + 1] .. ARGV[a + 3] .. ' '
  local gone, values = 0, {}
  for i = 1, count do
    local value = redis.pcall('GET', KEYS[first + i])
    if type(value) == 'string' and string.sub(value, 1, #own) == own then
      values[i] = target .. string.sub(value, #own + 1)
    elseif type(value) == 'string' and string.sub(value, 1, #target) == target then
      values[i] = value
    else
      gone = i
      break
    end
  end
  if gone == 0 then
    for i = 1, count do
      redis.call('SET', KEYS[first + i], values[i], 'PX', ttl)
      redis.call('GET', KEYS[first + i])
    end
  end
  replies[#replies + 1] = gone
  first = first + count
end
return replies
`);

export interface RenewCall {
  readonly keys: readonly string[];
  readonly owner: string;
  readonly ttl: number;
  readonly purpose: RenewPurpose;
}

export type RenewAnswer = { readonly kind: 'written' } | { readonly kind: 'gone'; readonly index: number };

export const renewScript = {
  script: RENEW,
  args: ({ keys, owner, ttl, purpose }: RenewCall): (string | number)[] => [
    keys.length,
    owner,
    ttl,
    purpose === 'keep' ? KEPT : '',
  ],
  answer: (reply: Reply | undefined): RenewAnswer =>
    reply === 0 ? { kind: 'written' } : { kind: 'gone', index: Number(reply) - 1 },
};
