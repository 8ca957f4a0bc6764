import type { Reply } from '../resp.js';
import { FORGET, GroupScript, READ_ALL, reading, WRITE, type ScriptCall } from './script.js';
import { COOLDOWN_MARK } from './value.js';

export interface RenewCall extends ScriptCall {
  /** ms that the keys live from now on. */
  readonly ttl: number;
  /**
   * `cooldown`: the lock was released, and its keys only stay busy (`COOLDOWN_MARK`). `keep`: the
   * keys keep `result`, by another script (`keepScript`).
   */
  readonly purpose: 'hold' | 'cooldown' | 'keep';
  /** Empty unless the purpose is `keep`. */
  readonly result: string;
}

/**
 * Extends the leases of one or more locks. Never creates a key: a lock that is lost stays lost.
 *
 * KEYS    the keys of each lock in turn
 * ARGV    for each series of like locks: their number, the number of keys of each, `ttl`,
 *         `purpose`; then the owner of each lock (see `GroupScript`)
 * Reply   for each lock: 0 if its lease was extended; or the position (from 1) of the first key
 *         that its owner does not hold. Then none of its keys was extended.
 * Writes  the value of each key again, with `ttl`, instead of PEXPIRE: so a replica that lost the
 *         key has it again, and WAIT has something to wait for. With the purpose `cooldown` the
 *         value becomes `<owner>~ <token>`; a key in cooldown keeps the time that it has left.
 *
 * The keys are read behind the writes, so that client tracking reports their next change.
 */
export const renewScript = new GroupScript<RenewCall, RenewAnswer>({
  common: ['ttl', 'purpose'],
  before: `${READ_ALL}${WRITE}
local written, absent = {}, nil
`,
  each: `
    local own = owner .. ' '
    local target = purpose == 'cooldown' and owner .. '${COOLDOWN_MARK} ' or own
    local gone, values, left = 0, {}, nil
    for i = count, 1, -1 do
      local key = KEYS[first + i]
      local value = found[key]
      if type(value) == 'string' and sub(value, 1, #own) == own then
        values[i] = target .. sub(value, #own + 1)
      elseif type(value) == 'string' and sub(value, 1, #target) == target then
        values[i], left = value, left or {}
        left[i] = call('PTTL', key)
      else
        gone = i
      end
    end
    for i = 1, count do
      local key = KEYS[first + i]
      if gone == 0 then
        found[key] = values[i]
        local time = left and left[i] or -1
        write(key, values[i], time < 0 and ttl or math.max(time, 1))
        written[#written + 1] = key
      elseif not found[key] then
        absent = absent or {}
        absent[#absent + 1] = key
      end
    end
    replies[#replies + 1] = gone
`,
  after: `${reading('written')}${FORGET}`,
  decode: decodeRenew,
});

export type RenewAnswer = { readonly kind: 'written' } | { readonly kind: 'gone'; readonly index: number };

/** Decodes the script's reply to one renewal. */
export function decodeRenew(reply: Reply | undefined): RenewAnswer {
  return reply === 0 ? { kind: 'written' } : { kind: 'gone', index: Number(reply) - 1 };
}
