import { hashOf } from './data.js';
import { callsOf, forget, write, type Data, type SimScript } from './script-data.js';

/*
 * The Lua scripts for permits in TypeScript: see `permits.ts` among the scripts for the format, and
 * test/simulation/scripts.spec.ts for the comparison.
 */

const UNLIMITED = 1_000_000_000;
const NEVER = 9e15;
const FEW = 64;

interface Permit {
  readonly token: number;
  ends: number;
  readonly limit: number;
  mark: string;
}

interface Bounds {
  last: number;
  first: number;
  least: number;
  wanted: number;
  till: number;
  exact: string;
  longest?: number;
}

/** What a key is for an owner that may enter. */
interface Room extends Bounds {
  /** The string that the key holds. */
  text?: string;
  /** The token that the owner has already. */
  mine?: number | undefined;
  isAbsent?: boolean;
}

type Refusal = readonly (string | number)[];

function permitOf(text = ''): Permit | undefined {
  const match = /^(\d+) (\d+) (\d+)( ?~?)$/.exec(text);
  if (match === null) return undefined;
  return { token: Number(match[1]), ends: Number(match[2]), limit: Number(match[3]), mark: match[4]! };
}

function textOf({ token, ends, limit, mark }: Permit): string {
  return `${token} ${ends} ${limit}${mark}`;
}

function boundsOf(text = ''): Bounds | undefined {
  const match = /^(\d+) (\d+) (\d+) (\d+) (\d+) ([01])$/.exec(text);
  if (match === null) return undefined;
  const [last, first, least, wanted, till] = match.slice(1, 6).map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  return { last, first, least, wanted, till, exact: match[6]! };
}

function textOfBounds({ last, first, least, wanted, till, exact }: Bounds): string {
  return [last, first, least, wanted, till, exact].join(' ');
}

function noHolder(last: number): Room {
  return { last, first: NEVER, least: UNLIMITED, wanted: 0, till: 0, exact: '1' };
}

const msOf = (data: Data): number => Math.floor(data.now() / 1000);

function survey(data: Data, key: string, b: Bounds): { count: number; name: string | undefined } {
  const ms = msOf(data);
  let count = 0;
  let name: string | undefined;
  Object.assign(b, { first: NEVER, least: UNLIMITED, exact: '1', longest: ms });
  for (const [owner, text] of Array.from(data.hash(key)!)) {
    if (owner === '') continue;
    const permit = permitOf(text);
    if (permit === undefined || permit.ends <= ms) {
      data.hdel(key, owner);
      continue;
    }
    count++;
    b.least = Math.min(b.least, permit.limit);
    if (permit.mark === '') b.longest = Math.max(b.longest!, permit.ends);
    if (permit.ends < b.first) {
      b.first = permit.ends;
      name = `${owner} ${text}`;
    }
  }
  b.first = Math.max(b.first, ms + Math.ceil(count * 0.05));
  data.hset(key, { '': textOfBounds(b) });
  return { count, name };
}

function sweep(data: Data, key: string): void {
  for (const [owner, text] of [...data.hash(key)!].slice(0, 16))
    if (owner !== '' && (permitOf(text)?.ends ?? 0) <= msOf(data)) data.hdel(key, owner);
}

function stringRoom(data: Data, key: string, own: string): Room | Refusal {
  const value = data.get(key)!;
  const isBare = /^\d{16}$/.test(value);
  const isMine = value.startsWith(`${own} `);
  if (!isBare && !isMine) return [value.slice(0, 512), data.pttl(key)];
  const mine = isMine ? Number(value.slice(own.length + 1)) : undefined;
  return { ...noHolder(isBare ? Number(value) : 0), text: value, mine };
}

function room(data: Data, key: string, own: string, limit: number, wait: number): Room | Refusal {
  const fields = data.hash(key);
  if (fields === undefined) return stringRoom(data, key, own);
  const b = boundsOf(fields.get(''));
  if (b === undefined) return data.exists(key) ? ['WRONGTYPE'] : { ...noHolder(0), isAbsent: true };
  const mine = fields.get(own);
  if (mine !== undefined) return { ...b, mine: permitOf(mine)?.token };
  const ms = msOf(data);
  let count = fields.size - 1;
  let name: string | undefined;
  let wrote = false;
  if (count === 0) Object.assign(b, { first: NEVER, least: UNLIMITED, exact: '1' });
  const isKeptOut = b.till > ms && b.wanted < limit;
  let hasRoom = count < limit && count < b.least;
  const mayHaveEnded = b.first <= ms;
  if (!hasRoom && (mayHaveEnded || (count < limit && b.exact === '0'))) {
    ({ count, name } = survey(data, key, b));
    hasRoom = count < limit && count < b.least;
    wrote = true;
  } else if (hasRoom && !isKeptOut && mayHaveEnded) {
    if (count <= FEW) survey(data, key, b);
    else sweep(data, key);
  }
  if (hasRoom && !isKeptOut) {
    if (limit <= b.wanted) Object.assign(b, { wanted: 0, till: 0 });
    return b;
  }
  const isMarked = wait > 0 && !isKeptOut && limit < b.least;
  if (isMarked && (b.wanted !== limit || b.till < ms + wait / 2)) {
    b.till = Math.max(ms + wait, b.wanted === limit ? b.till : 0);
    b.wanted = limit;
    wrote = true;
    data.hset(key, { '': textOfBounds(b) });
    if (data.pttl(key) < b.till - ms) data.pexpire(key, b.till - ms);
  }
  if (wrote) data.hash(key);
  if (name === undefined && count > 0) {
    b.longest ??= ms;
    for (const [owner, text] of [...data.hash(key)!].filter(([field]) => field !== '').slice(0, 2)) {
      const permit = permitOf(text);
      if (permit?.mark === '') b.longest = Math.max(b.longest, permit.ends);
      name = `${owner} ${text}`;
    }
  }
  const left = Math.max(1, (hasRoom ? b.till : b.first) - ms);
  return [name ?? '', left, count, isMarked ? 1 : 0, b.longest === undefined ? 0 : b.longest - ms];
}

export const acquirePermit: SimScript = (data, keys, args) => {
  const absent: string[] = [];
  const replies = [...callsOf(keys, args, 3, 1)].map(({ keys: own, owner, common, rest: [wait] }) => {
    const [ttl, floor, limit] = common.map(Number) as [number, number, number];
    let token = floor;
    const rooms: Room[] = [];
    for (const [i, key] of own.entries()) {
      const found = room(data, key, owner, limit, Number(wait));
      if (!('last' in found)) {
        absent.push(...own.filter((_, place) => place < i && rooms[place]!.isAbsent === true));
        return [i, ...found];
      }
      rooms.push(found);
      token = Math.max(token, found.mine ?? Math.max(data.now(), found.last + 1));
    }
    for (const [i, key] of own.entries()) enter(data, key, owner, rooms[i]!, ttl, token, limit);
    return String(token);
  });
  forget(data, absent);
  return replies;
};

function enter(
  data: Data,
  key: string,
  own: string,
  b: Room,
  ttl: number,
  token: number,
  limit: number,
): void {
  if (limit === 1) {
    data.set(key, `${own} ${token}`, ttl);
    return;
  }
  if (b.text !== undefined) {
    data.set(key, b.text, ttl);
    data.del(key);
  }
  const permit: Permit = { token, ends: msOf(data) + ttl, limit, mark: '' };
  b.last = Math.max(b.last, token);
  b.first = Math.min(b.first, permit.ends);
  if (limit < b.least) Object.assign(b, { least: limit, exact: '1' });
  data.hset(key, { [own]: textOf(permit), '': textOfBounds(b) });
  if (data.pttl(key) < ttl) data.pexpire(key, ttl);
}

export const renewPermit: SimScript = (data, keys, args) => {
  const written: string[] = [];
  const absent: string[] = [];
  const replies = [...callsOf(keys, args, 2)].map(({ keys: own, owner, common: [ttl, purpose] }) => {
    const ms = msOf(data);
    const found = own.map((key) => {
      const fields = data.hash(key);
      return { key, fields, permit: permitOf(fields?.get(owner)), bounds: boundsOf(fields?.get('')) };
    });
    const isGone = ({ permit, bounds }: (typeof found)[number]): boolean =>
      bounds === undefined ||
      permit === undefined ||
      permit.ends <= ms ||
      (permit.mark !== '' && purpose !== 'cooldown');
    absent.push(...found.filter(({ fields }) => fields?.size === 0).map(({ key }) => key));
    const gone = found.findIndex(isGone);
    if (gone >= 0) return gone + 1;
    for (const { key, permit, bounds } of found) {
      if (permit!.mark === '') permit!.ends = ms + Number(ttl);
      if (purpose === 'cooldown') permit!.mark = ' ~';
      bounds!.first = Math.min(bounds!.first, permit!.ends);
      data.pexpire(key, Math.max(data.pttl(key), permit!.ends - ms));
      data.hset(key, { [owner]: textOf(permit!), '': textOfBounds(bounds!) });
      written.push(key);
    }
    return 0;
  });
  for (const key of written) data.hash(key);
  forget(data, absent);
  return replies;
};

/** Removes a permit. */
function leave(data: Data, key: string, owner: string, permit: Permit, b: Bounds, tombstone: number): void {
  data.hdel(key, owner);
  if (data.hash(key)!.size === 1) data.pexpire(key, Math.max(tombstone, b.till - msOf(data)));
  else if (b.exact === '1' && permit.limit === b.least)
    data.hset(key, { '': textOfBounds({ ...b, exact: '0' }) });
}

export const releasePermit: SimScript = (data, keys, args) =>
  [...callsOf(keys, args, 2, 1)].map(
    ({ keys: own, owner, common: [cooldown, tombstone], rest: [lockToken] }) => {
      let ours = 1;
      for (const key of own) {
        const fields = data.hash(key);
        const permit = permitOf(fields?.get(owner));
        const b = boundsOf(fields?.get(''));
        if (fields === undefined) ours = data.get(key) === lockToken ? ours : 0;
        else if (b === undefined) ours = 0;
        else if (permit === undefined) ours = String(b.last) === lockToken ? ours : 0;
        else if (cooldown === '0') leave(data, key, owner, permit, b, Number(tombstone));
        else if (permit.mark === '') {
          permit.ends = msOf(data) + Number(cooldown);
          permit.mark = ' ~';
          b.first = Math.min(b.first, permit.ends);
          data.pexpire(key, Math.max(data.pttl(key), Number(cooldown)));
          data.hset(key, { [owner]: textOf(permit), '': textOfBounds(b) });
        }
      }
      return ours;
    },
  );

export const checkPermit: SimScript = (data, keys, args) => {
  const replies = [...callsOf(keys, args, 0)].map(({ keys: own, owner }) => {
    const isHeld = own.map((key) => {
      const permit = permitOf(data.hash(key)?.get(owner));
      return permit !== undefined && permit.ends > msOf(data) && permit.mark === '';
    });
    return isHeld.indexOf(false) + 1;
  });
  forget(
    data,
    keys.filter((key) => !data.exists(key)),
  );
  return replies;
};

/** The part of `forceRelease` for a hash. */
export function forceReleaseShared(
  data: Data,
  key: string,
  tombstone: number,
  owner: string,
): number | string {
  const fields = data.hash(key)!;
  const b = boundsOf(fields.get(''));
  if (b === undefined) return 'WRONGTYPE';
  if (owner !== '') {
    const permit = permitOf(fields.get(owner));
    if (permit === undefined) return 0;
    leave(data, key, owner, permit, b, tombstone);
    return permit.ends > msOf(data) ? 1 : 0;
  }
  data.pexpire(key, Math.max(data.pttl(key), 1));
  const { count } = survey(data, key, b);
  if (count > 0) write(data, key, String(b.last), tombstone);
  return Math.min(count, 1);
}

/** The hash of a key with one permit, until `ends` in ms by the server's clock. */
export function soleHolder(owner: string, token: number, limit: number, ends: number): string {
  const permit = { token, ends: Math.floor(ends), limit: Math.min(limit, UNLIMITED), mark: '' };
  const bounds = { ...noHolder(token), first: permit.ends, least: permit.limit };
  return hashOf(
    new Map([
      ['', textOfBounds(bounds)],
      [owner, textOf(permit)],
    ]),
  );
}
