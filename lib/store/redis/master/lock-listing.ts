import { KeyGlob, literalGlob } from '../../key-glob.js';
import { PAGE_SIZE, type ListedKey, type ListOutcome, type ListRequest } from '../../lock-listing.js';
import { MOST_RESULT_BYTES, type Unavailable } from '../../lock-store.js';
import type { RouteAgain } from '../commit/commit-request.js';
import { ErrorReply, type Command } from '../resp.js';
import { holdersOf, isBounds, serverTimeOf } from '../scripts/permits.js';
import { parseValue } from '../scripts/value.js';
import type { Master } from './master.js';

/** Most bytes of a value that are read: a kept result with its owner. Other programs may keep more. */
const LONGEST_VALUE = MOST_RESULT_BYTES + 1_024;

/** The place in the walk over one master's keys: the run of the server, and the cursor of SCAN. */
const CURSOR = /^([^:]+):(\d{1,20})$/;

/** What a key answers that is no string, or whose slot is moving to another master. */
const ANSWERS_OF_OTHER_KEYS = ['WRONGTYPE', 'MOVED', 'ASK', 'TRYAGAIN'];

/**
 * One page of the keys of one master that are held or keep a result. Never blocks the server: SCAN
 * looks at about `PAGE_SIZE` keys, whatever their names are. The walk begins anew on another run of
 * the server, because a cursor has a meaning only within a run.
 */
export async function listMaster(
  master: Pick<Master, 'ask'>,
  keyPrefix: string,
  { match = '*', cursor = '' }: ListRequest,
): Promise<ListOutcome | RouteAgain> {
  const glob = new KeyGlob(match);
  const pattern = `${literalGlob(keyPrefix + glob.head)}*`;
  let runId = '';
  const scanned = await master.ask(({ run }) => {
    runId = run.runId;
    const [, cursorRun, position = '0'] = CURSOR.exec(cursor) ?? [];
    return [['scan', cursorRun === runId ? position : '0', 'match', pattern, 'count', PAGE_SIZE]];
  });
  if (!Array.isArray(scanned)) return scanned;
  const [next, found] = scanned[0] as [next: string, found: string[]];
  // SCAN may name a key twice. No lock has an empty key.
  const keys = [...new Set(found)].flatMap((redisKey) => {
    const key = redisKey.slice(keyPrefix.length);
    return key !== '' && redisKey.startsWith(keyPrefix) && glob.matches(key) ? [key] : [];
  });
  const locks = await readKeys(master, keyPrefix, keys);
  if (!Array.isArray(locks)) return locks;
  return { kind: 'page', locks, ...(next !== '0' && { cursor: `${runId}:${next}` }) };
}

/** The keys that a lock wrote, without those that are free. */
async function readKeys(
  master: Pick<Master, 'ask'>,
  keyPrefix: string,
  keys: readonly string[],
): Promise<ListedKey[] | Unavailable | RouteAgain> {
  if (keys.length === 0) return [];
  const values = await askEach(
    master,
    keys.flatMap((key) => [
      ['getrange', keyPrefix + key, 0, LONGEST_VALUE - 1],
      ['pttl', keyPrefix + key],
    ]),
  );
  if (!Array.isArray(values)) return values;
  const locks: ListedKey[] = [];
  const noStrings: string[] = [];
  for (const [index, key] of keys.entries()) {
    const value = values[2 * index];
    const pttl = values[2 * index + 1];
    if (value instanceof ErrorReply && value.code === 'WRONGTYPE') noStrings.push(key);
    if (typeof value !== 'string' || typeof pttl !== 'number') continue;
    const read = parseValue(value, pttl);
    if (read.kind === 'held') locks.push({ ...read, key, holders: [read.holder] });
    else if (read.kind === 'kept') locks.push({ ...read, key });
  }
  const shared = await readShared(master, keyPrefix, noStrings);
  return Array.isArray(shared) ? [...locks, ...shared] : shared;
}

/** The keys that locks with a limit above 1 hold. Reads no hash of another program. */
async function readShared(
  master: Pick<Master, 'ask'>,
  keyPrefix: string,
  keys: readonly string[],
): Promise<ListedKey[] | Unavailable | RouteAgain> {
  if (keys.length === 0) return [];
  const bounds = await askEach(
    master,
    keys.map((key) => ['hget', keyPrefix + key, '']),
  );
  if (!Array.isArray(bounds)) return bounds;
  const ours = keys.filter((_, index) => isBounds(bounds[index]));
  if (ours.length === 0) return [];
  const reads = ours.map((key): Command => ['hgetall', keyPrefix + key]);
  const replies = await askEach(master, [['time'], ...reads]);
  if (!Array.isArray(replies)) return replies;
  const [time, ...hashes] = replies;
  const now = serverTimeOf(time);
  return ours.flatMap((key, index) => {
    const fields = hashes[index];
    const holders = Array.isArray(fields) && fields.length > 0 ? holdersOf(fields as string[], now) : [];
    const holder = holders?.[0];
    return holder === undefined ? [] : [{ kind: 'held', key, holder, holders: holders! } as const];
  });
}

/** Asks about each key by itself: one that another program changed or that moved refuses nothing. */
function askEach(master: Pick<Master, 'ask'>, commands: Command[]): ReturnType<Master['ask']> {
  return master.ask(
    () => commands,
    ({ code }) => ANSWERS_OF_OTHER_KEYS.includes(code),
  );
}
