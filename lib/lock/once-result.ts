import { MOST_RESULT_BYTES } from '../store/lock-store.js';
import { lockOf, thrownText } from './error-texts.js';
import { LockOptionsError } from './errors.js';

/** What `LockService.once` resolves with. */
export interface OnceResult<T> {
  /**
   * What the work returned, as JSON gives it back: a Date is a string, a Map is `{}`. The caller
   * that ran the work gets the same as all others.
   */
  readonly result: T;
  /** True if this call ran the work, false if the result was kept from an earlier run. */
  readonly ran: boolean;
}

/**
 * The result as text to keep: JSON, and empty for undefined, which JSON does not have.
 *
 * @throws `LockOptionsError` if the value is no JSON, or too large.
 */
export function resultText(key: string, value: unknown): string {
  if (value === undefined) return '';
  const what = typeof value;
  if (what === 'function' || what === 'symbol' || what === 'bigint') throw notKept(key, `it is a ${what}`);
  if (isStream(value)) throw notKept(key, 'it is a stream, an iterator or an Observable');
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    // A cycle, a bigint inside, or an error in a `toJSON`.
    throw notKept(
      key,
      `JSON.stringify fails (${error instanceof Error ? error.message : thrownText(error)})`,
    );
  }
  if (text === undefined) throw notKept(key, 'its toJSON returns undefined');
  const size = Buffer.byteLength(text);
  if (size <= MOST_RESULT_BYTES) return text;
  throw notKept(key, `it has ${size} bytes, and ${MOST_RESULT_BYTES} are the most`);
}

/** The value of a kept text. */
export function resultOf(text: string): unknown {
  return text === '' ? undefined : JSON.parse(text);
}

/**
 * JSON would make an object without the data of these. A StreamableFile has `getStream`, a Response
 * and a Blob have `arrayBuffer`.
 */
function isStream(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const members = value as Record<string, unknown>;
  const isCallable = (name: string): boolean => typeof members[name] === 'function';
  const isIterator = Symbol.iterator in value && isCallable('next');
  return (
    isIterator ||
    Symbol.asyncIterator in value ||
    ['pipe', 'subscribe', 'getStream', 'arrayBuffer'].some(isCallable)
  );
}

function notKept(key: string, why: string): LockOptionsError {
  return new LockOptionsError(
    'result',
    undefined,
    `${lockOf([key])} cannot keep the result of its work as JSON: ${why}. The work has run, nothing is kept, and the next call runs it again. ` +
      'Return plain data of at most 64 KiB, such as an id or the place where the data is.',
    [key],
  );
}
