import type { RenewPurpose } from '../../lock-store.js';
import type { Reply } from '../connection.js';
import { GroupScript, type ScriptCall } from './script.js';
import { KEPT } from './value.js';

export interface RenewCall extends ScriptCall {
  /** ms */
  readonly ttl: number;
  /** `keep`: what is put behind the owner's name marks a lock that was given back and whose keys only stay busy. */
  readonly purpose: RenewPurpose;
}

/**
 * Extends the leases of one or more locks. Never creates a key: what is gone stays gone.
 *
 * Reply for each lock: 0, or the position (from 1) of the first key that its owner does not hold; then none of them was extended
 *
 * It writes the value again instead of moving the expiry, so that a replica that lost the key has it again, and WAIT has
 * something to wait for. The GET behind it makes client tracking watch the key again.
 */
export const renewScript = new GroupScript<RenewCall>({
  common: ['ttl', 'purpose'],
  each: `
    local own = owner .. ' '
    local target = purpose == 'keep' and owner .. '${KEPT} ' or own
    local gone, values = 0, {}
    for i = 1, count do
      local value = redis.pcall('GET', KEYS[first + i])
      if type(value) == 'string' and sub(value, 1, #own) == own then
        values[i] = target .. sub(value, #own + 1)
      elseif type(value) == 'string' and sub(value, 1, #target) == target then
        values[i] = value
      else
        gone = i
        break
      end
    end
    if gone == 0 then
      for i = 1, count do
        call('SET', KEYS[first + i], values[i], 'PX', ttl)
        call('GET', KEYS[first + i])
      end
    end
    replies[#replies + 1] = gone
`,
});

export type RenewAnswer = { readonly kind: 'written' } | { readonly kind: 'gone'; readonly index: number };

/** Reads the script's reply to one renewal. */
export function renewAnswer(reply: Reply | undefined): RenewAnswer {
  return reply === 0 ? { kind: 'written' } : { kind: 'gone', index: Number(reply) - 1 };
}
