import { ErrorReply, type Reply } from '../resp.js';
import type { Holder, SharedKey } from '../../lock-store.js';
import { holderOfPermit, NO_HOLDER } from './permits.js';
import { FORGET, GroupScript, reading, type ScriptCall } from './script.js';
import { parseValue } from './value.js';

export interface AcquireCall extends ScriptCall {
  /** ms that the keys live. */
  readonly ttl: number;
  /** The smallest token that the request may get. */
  readonly floor: number;
  /** ms that the bare token stays in a key that is given back at once. */
  readonly tombstone: number;
  /** The most holders that the owner allows, itself included: see `limitForScript`. */
  readonly limit: number;
  /** ms for which a refused owner keeps out owners with a larger limit, while it waits; or 0. */
  readonly wait: number;
}

/**
 * Takes the keys of one or more requests. Each request gets all of its keys or none of them.
 *
 * KEYS    the keys of each request in turn
 * ARGV    for each series of like requests: their number, the number of keys of each, `ttl`,
 *         `floor`, `tombstone`; then the owner of each request (see `GroupScript`)
 * Reply   for each request: the token as a string; or [index, value, PTTL] of the first key that is
 *         not free; or [index, error] of the first key that cannot be read or written
 * Writes  `<owner> <token>` to each key, with `ttl`. A key that this owner already holds is written
 *         again with its token, because WAIT covers only what this connection wrote, and because
 *         the answer to an earlier write may have been lost.
 *
 * The token is the largest of three: the last token of the keys + 1, the clock in microseconds, and
 * `floor`, which is the token of keys that the same lock holds in other slots.
 *
 * MGET reads a key that holds no string as a missing key (see `reading`). Such a key shows only
 * when it is written. Then the keys that were taken before it are released.
 *
 * A busy key was read, so client tracking reports its release. A taken key is not read: tracking
 * would cost as much as everything else together, and most locks are released before another
 * program could have changed them (see `KeyTracking`). So a single key is first written with NX,
 * as if it were free, without a read.
 */
export const acquireScript = new GroupScript<AcquireCall, AcquireAnswer>({
  common: ['ttl', 'floor', 'tombstone'],
  before: `
local absent
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local newest = string.format('%.0f', now)

local function take(count, own, ttl, token, tombstone)
  local keys = {unpack(KEYS, first + 1, first + count)}
  local values, refusal = {}, nil
${reading(
  'keys',
  `
    values[i] = value
    if type(value) == 'table' then
      refusal = refusal or {i - 1, value.err}
    elseif value and sub(value, 1, #own) == own then
      token = math.max(token, tonumber(sub(value, #own + 1)))
    elseif not value then
      token = math.max(token, now)
    elseif #value == 16 and string.find(value, '^%d+$') then
      token = math.max(token, now, tonumber(value) + 1)
    else
      refusal = refusal or {i - 1, sub(value, 1, 512), call('PTTL', keys[i])}
    end
`,
)}
  local reply = string.format('%.0f', token)
  local written = 0
  while not refusal and written < count do
    local key, value = keys[written + 1], values[written + 1]
    if value then
      call('SET', key, own .. reply, 'PX', ttl)
    elseif not call('SET', key, own .. reply, 'PX', ttl, 'NX') then
      refusal = {written, 'WRONGTYPE'}
      break
    end
    written = written + 1
  end
  if not refusal then return reply end
  for i = 1, count do
    local value = values[i]
    if i <= written and not (value and sub(value, 1, #own) == own) then
      call('SET', keys[i], reply, 'PX', tombstone)
    elseif not value then
      absent = absent or {}
      absent[#absent + 1] = keys[i]
    end
  end
  return refusal
end
`,
  each: `
    local least = tonumber(floor)
    if count == 1 and least <= now and call('SET', KEYS[first + 1], owner .. ' ' .. newest, 'PX', ttl, 'NX') then
      replies[#replies + 1] = newest
    else
      replies[#replies + 1] = take(count, owner .. ' ', ttl, least, tombstone)
    end
`,
  after: FORGET,
  decode: decodeAcquire,
});

export type AcquireAnswer =
  | { readonly kind: 'written'; readonly token: number }
  | {
      readonly kind: 'busy';
      readonly index: number;
      readonly holder: Holder;
      readonly shared: SharedKey | undefined;
      /** ms of the longest lease of a shared key, as far as the script has read the leases. */
      readonly longest: number | undefined;
    }
  /** `isString`: false if the script found another type, perhaps the hash of a shared key. */
  | {
      readonly kind: 'foreign';
      readonly index: number;
      readonly found: string;
      readonly isString: boolean;
    }
  | { readonly kind: 'refused'; readonly error: ErrorReply };

/** Decodes the script's reply to one request. */
export function decodeAcquire(reply: Reply | undefined): AcquireAnswer {
  if (typeof reply === 'string') return { kind: 'written', token: Number(reply) };
  const [index, text, pttl, ...shared] = reply as [number, string, number?, ...number[]];
  if (pttl === undefined) {
    const error = new ErrorReply(text);
    return error.code === 'WRONGTYPE'
      ? { kind: 'foreign', index, found: 'a value that is no string', isString: false }
      : { kind: 'refused', error };
  }
  if (shared.length > 0) return sharedAnswer(index, text, pttl, shared as [number, number, number]);
  const value = parseValue(text, pttl);
  return value.kind === 'held' || value.kind === 'kept'
    ? { kind: 'busy', index, holder: value.holder, shared: undefined, longest: undefined }
    : {
        kind: 'foreign',
        index,
        found: value.kind === 'foreign' ? value.found : 'a bare token',
        isString: true,
      };
}

/** `left`: ms until the key may have room. */
function sharedAnswer(
  index: number,
  text: string,
  left: number,
  [holders, marked, longest]: readonly [holders: number, marked: number, longest: number],
): AcquireAnswer {
  const holder = holderOfPermit(text, 0) ?? NO_HOLDER;
  return {
    kind: 'busy',
    index,
    holder: { ...holder, remainingTime: left },
    shared: { holders, isMarked: marked === 1 },
    longest,
  };
}
