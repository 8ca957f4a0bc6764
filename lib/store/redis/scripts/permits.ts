import type { Holder } from '../../lock-store.js';
import type { Reply } from '../resp.js';
import { COOLDOWN_MARK } from './value.js';

/*
 * A key whose holders have a limit above 1 is a hash:
 *
 *     <owner>   <token> <ends> <limit>      a permit
 *     <owner>   <token> <ends> <limit> ~    released before its `minHoldTime`: busy, but not held
 *     ''        <last token> <first end> <least limit> <wanted> <wanted until> <exact>
 *
 * `ends` is in ms since 1970 by the server's clock: a permit ends by itself, whatever keeps the key.
 *
 * The field '' has the bounds of the permits: no permit ends before `first end`, and no holder allows
 * fewer holders than `least limit`. So a grant counts the fields of the hash and reads none of them.
 * All permits are read only if a bound stands in the way and may be out of date (`survey`). `exact`
 * is 1 if a holder with `least limit` is certainly inside.
 *
 * `wanted` is the mark of a caller that waits and allows fewer holders than `least limit`. Callers
 * that allow more than `wanted` stay out until `wanted until`, so that readers do not starve a writer.
 */

/** A limit without end, as the scripts know it. */
const UNLIMITED = 1_000_000_000;

/** The most permits of a key that are read only to remove those that have ended. */
const FEW = 64;

/** Permits that are read if there are more than `FEW`. */
const SAMPLE = 16;

/**
 * ms for each permit, for which no further survey follows a survey: surveys of a key take up at most
 * a tenth of the server's time. An ended permit stays in the way for as long.
 */
const SURVEY_PAUSE = 0.05;

export function limitForScript(limit: number): number {
  return Math.min(limit, UNLIMITED);
}

function limitFromScript(limit: number): number {
  return limit >= UNLIMITED ? Infinity : limit;
}

/** For a key that is only kept for an owner that waits. */
export const NO_HOLDER: Holder = { owner: '', token: 0, remainingTime: 0, inCooldown: true, limit: 1 };

/** The holder of a permit, from `<owner> <token> <ends> <limit>`. `now`: ms by the server's clock. */
export function holderOfPermit(text: string, now: number): Holder | undefined {
  const match = /^(rl:[^ ~]+) (\d{16}) (\d+) (\d+)( ~)?$/.exec(text);
  if (match === null) return undefined;
  return {
    owner: match[1]!,
    token: Number(match[2]),
    remainingTime: Math.max(0, Number(match[3]) - now),
    inCooldown: match[5] !== undefined,
    limit: limitFromScript(Number(match[4])),
  };
}

/** Whether the text is that of the field '', which every hash of this library has. */
export function isBounds(text: unknown): boolean {
  return typeof text === 'string' && /^\d+( \d+){5}$/.test(text);
}

/** ms since 1970 by the server's clock, from the reply to TIME. */
export function serverTimeOf(time: Reply | undefined): number {
  const [seconds, microseconds] = Array.isArray(time) ? time : [];
  return Number(seconds) * 1_000 + Math.floor(Number(microseconds) / 1_000);
}

/**
 * The holders in a hash, the first to end first. Undefined if the hash is of another program. `now`:
 * ms by the server's clock.
 */
export function holdersOf(fields: readonly string[], now: number): Holder[] | undefined {
  const holders: Holder[] = [];
  let isOurs = false;
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] === '') isOurs = isBounds(fields[i + 1]);
    else {
      const holder = holderOfPermit(`${fields[i]} ${fields[i + 1]}`, now);
      if (holder !== undefined && holder.remainingTime > 0) holders.push(holder);
    }
  }
  return isOurs ? holders.toSorted((a, b) => a.remainingTime - b.remainingTime) : undefined;
}

/** Lua: the server's time, in microseconds (`now`) and in ms (`ms`). */
export const CLOCK = `
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local ms = math.floor(now / 1000)
`;

/** Lua: reads and writes a permit and the bounds. */
export const PERMITS = `
local function permitOf(text)
  local token, ends, limit, mark = string.match(text or '', '^(%d+) (%d+) (%d+)( ?${COOLDOWN_MARK}?)$')
  return token and {token = token, ends = tonumber(ends), limit = tonumber(limit), mark = mark}
end

local function textOf(permit)
  return string.format('%s %.0f %.0f%s', permit.token, permit.ends, permit.limit, permit.mark)
end

local function boundsOf(text)
  local last, first, least, wanted, till, exact =
    string.match(text or '', '^(%d+) (%d+) (%d+) (%d+) (%d+) ([01])$')
  return last and {
    last = tonumber(last), first = tonumber(first), least = tonumber(least),
    wanted = tonumber(wanted), till = tonumber(till), exact = exact
  }
end

local function textOfBounds(b)
  return string.format('%.0f %.0f %.0f %.0f %.0f %s', b.last, b.first, b.least, b.wanted, b.till, b.exact)
end

local function noHolder(last)
  return {last = last, first = 9e15, least = ${UNLIMITED}, wanted = 0, till = 0, exact = '1'}
end
`;

/**
 * Lua: `survey(key, bounds)` reads all permits of a key, removes those that have ended, and writes
 * exact bounds. Answers the number of permits, and the permit that ends first with its owner.
 * `bounds.longest` is the last end of a permit that is held.
 * `sweep(key)` removes the ended ones of some permits.
 */
export const SURVEY = `
local function remove(key, owners)
  for i = 1, #owners, 100 do call('HDEL', key, unpack(owners, i, math.min(i + 99, #owners))) end
end

local function ended(permit)
  return not permit or permit.ends <= ms
end

local function survey(key, b)
  local all, gone, count, name = call('HGETALL', key), {}, 0, nil
  b.longest = ms
  b.first, b.least, b.exact = 9e15, ${UNLIMITED}, '1'
  for i = 1, #all, 2 do
    local permit = all[i] ~= '' and permitOf(all[i + 1])
    if permit and not ended(permit) then
      count = count + 1
      b.least = math.min(b.least, permit.limit)
      if permit.mark == '' then b.longest = math.max(b.longest, permit.ends) end
      if permit.ends < b.first then b.first, name = permit.ends, all[i] .. ' ' .. all[i + 1] end
    elseif all[i] ~= '' then
      gone[#gone + 1] = all[i]
    end
  end
  remove(key, gone)
  b.first = math.max(b.first, ms + math.ceil(count * ${SURVEY_PAUSE}))
  call('HSET', key, '', textOfBounds(b))
  return count, name
end

local function sweep(key)
  local some, gone = call('HRANDFIELD', key, ${SAMPLE}, 'WITHVALUES'), {}
  for i = 1, #some, 2 do
    if some[i] ~= '' and ended(permitOf(some[i + 1])) then gone[#gone + 1] = some[i] end
  end
  remove(key, gone)
end
`;

/**
 * Lua: `room(key, own, limit, wait)` answers the bounds of the key if this owner may enter, else nil
 * and the refusal without its index.
 */
export const ROOM = `
local function stringRoom(key, own)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then return nil, {value.err} end
  local isBare = #value == 16 and string.find(value, '^%d+$')
  local isMine = sub(value, 1, #own + 1) == own .. ' '
  if not isBare and not isMine then return nil, {sub(value, 1, 512), call('PTTL', key)} end
  local b = noHolder(isBare and tonumber(value) or 0)
  b.text, b.mine = value, isMine and tonumber(sub(value, #own + 2))
  return b
end

local function refusal(key, b, count, name, hasRoom, isMarked)
  if not name and count > 0 then
    local some = call('HRANDFIELD', key, 3, 'WITHVALUES')
    b.longest = b.longest or ms
    for i = 1, #some, 2 do
      local permit = some[i] ~= '' and permitOf(some[i + 1])
      if permit and permit.mark == '' then b.longest = math.max(b.longest, permit.ends) end
      if some[i] ~= '' then name = some[i] .. ' ' .. some[i + 1] end
    end
  end
  local left = math.max(1, (hasRoom and b.till or b.first) - ms)
  return {name or '', left, count, isMarked and 1 or 0, b.longest and b.longest - ms or 0}
end

local function room(key, own, limit, wait)
  local values = redis.pcall('HMGET', key, '', own)
  if values.err then
    if sub(values.err, 1, 9) ~= 'WRONGTYPE' then return nil, {values.err} end
    return stringRoom(key, own)
  end
  local b = boundsOf(values[1])
  if not b then
    if values[1] or values[2] or call('EXISTS', key) == 1 then return nil, {'WRONGTYPE'} end
    b = noHolder(0)
    b.isAbsent = true
    return b
  end
  if values[2] then
    local permit = permitOf(values[2])
    b.mine = permit and tonumber(permit.token)
    return b
  end
  local count, name, wrote = call('HLEN', key) - 1, nil, false
  if count == 0 then b.first, b.least, b.exact = 9e15, ${UNLIMITED}, '1' end
  local isKeptOut = b.till > ms and b.wanted < limit
  local hasRoom = count < limit and count < b.least
  local mayHaveEnded = b.first <= ms
  if not hasRoom and (mayHaveEnded or (count < limit and b.exact == '0')) then
    count, name = survey(key, b)
    hasRoom, wrote = count < limit and count < b.least, true
  elseif hasRoom and not isKeptOut and mayHaveEnded then
    if count <= ${FEW} then survey(key, b) else sweep(key) end
  end
  if hasRoom and not isKeptOut then
    if limit <= b.wanted then b.wanted, b.till = 0, 0 end
    return b
  end
  local isMarked = wait > 0 and not isKeptOut and limit < b.least
  if isMarked and (b.wanted ~= limit or b.till < ms + wait / 2) then
    b.wanted, b.till, wrote = limit, math.max(ms + wait, b.wanted == limit and b.till or 0), true
    call('HSET', key, '', textOfBounds(b))
    if call('PTTL', key) < b.till - ms then call('PEXPIRE', key, b.till - ms) end
  end
  -- A write ends the client tracking of the key.
  if wrote then call('EXISTS', key) end
  return nil, refusal(key, b, count, name, hasRoom, isMarked)
end
`;

/** Lua: `leave(key, owner, permit, bounds, tombstone)` removes a permit. */
export const LEAVE = `
local function leave(key, owner, permit, b, tombstone)
  call('HDEL', key, owner)
  if call('HLEN', key) == 1 then
    call('PEXPIRE', key, math.max(tonumber(tombstone), b.till - ms))
  elseif b.exact == '1' and permit.limit == b.least then
    b.exact = '0'
    call('HSET', key, '', textOfBounds(b))
  end
end
`;
