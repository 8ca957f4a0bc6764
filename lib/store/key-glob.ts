const STAR = 42;
const QUESTION_MARK = 63;
const OPENING_BRACKET = 91;
const BACKSLASH = 92;
const CLOSING_BRACKET = 93;
const CARET = 94;
const HYPHEN = 45;

/** A glob that matches the text itself: every special character is escaped. */
export function literalGlob(text: string): string {
  return text.replaceAll(/[*?[\]\\]/g, String.raw`\$&`);
}

/** Accepts one byte. */
type ByteTest = (byte: number) => boolean;

/**
 * A glob as Redis knows it, on the bytes (UTF-8) of a key: `*` is any text, `?` any byte, `[a-c]`
 * and `[^a-c]` a byte that is in the class or not, and `\` takes the next character as it is.
 *
 * The servers get only the literal beginning of a glob. Redis 6.2 and 7.0 need a time that grows
 * with the length of a key to the power of the number of stars. This class needs at most the product
 * of the lengths.
 * @see https://redis.io/docs/latest/commands/keys/
 */
export class KeyGlob {
  /** The beginning that every matching key has. */
  readonly head: string;
  private readonly parts: readonly (ByteTest | '*')[];

  constructor(glob: string) {
    const [head] = /^(?:[^*?[\\]|\\.)*/s.exec(glob)!;
    this.head = head.replaceAll(/\\(.)/gs, '$1');
    this.parts = partsOf(Buffer.from(glob));
  }

  matches(key: string): boolean {
    const bytes = Buffer.from(key);
    const { parts } = this;
    let at = 0;
    let part = 0;
    /** Behind the last star, and the byte at which the parts behind that star were last tried. */
    let retry: { part: number; at: number } | undefined;
    while (at < bytes.length) {
      const test = parts[part];
      if (test === '*') retry = { part: ++part, at };
      else if (test?.(bytes[at]!) === true) {
        part++;
        at++;
      } else if (retry === undefined) return false;
      else {
        part = retry.part;
        at = ++retry.at;
      }
    }
    while (parts[part] === '*') part++;
    return part === parts.length;
  }
}

function partsOf(glob: Buffer): (ByteTest | '*')[] {
  const parts: (ByteTest | '*')[] = [];
  for (let at = 0; at < glob.length; at++) {
    const byte = glob[at]!;
    if (byte === STAR) {
      if (parts.at(-1) !== '*') parts.push('*');
    } else if (byte === QUESTION_MARK) parts.push(() => true);
    else if (byte === OPENING_BRACKET) {
      const end = endOfClass(glob, at + 1);
      parts.push(classOf(glob.subarray(at + 1, end)));
      at = end;
    } else {
      const literal = byte === BACKSLASH && at + 1 < glob.length ? glob[++at]! : byte;
      parts.push((found) => found === literal);
    }
  }
  return parts;
}

/** The index of the bracket that closes the class, or the length of the glob. */
function endOfClass(glob: Buffer, start: number): number {
  let at = glob[start] === CARET ? start + 1 : start;
  while (at < glob.length && glob[at] !== CLOSING_BRACKET) {
    if (glob[at] === BACKSLASH) at += 2;
    // In a range, a bracket may be the end.
    else at += glob[at + 1] === HYPHEN && at + 2 < glob.length ? 3 : 1;
  }
  return Math.min(at, glob.length);
}

/** `text`: the class without its brackets. */
function classOf(text: Buffer): ByteTest {
  const isNegated = text[0] === CARET;
  const ranges: (readonly [from: number, to: number])[] = [];
  for (let at = isNegated ? 1 : 0; at < text.length; at++) {
    const byte = text[at]!;
    if (byte === BACKSLASH && at + 1 < text.length) {
      const escaped = text[++at]!;
      ranges.push([escaped, escaped]);
    } else if (text[at + 1] === HYPHEN && at + 2 < text.length) {
      const end = text[at + 2]!;
      ranges.push([Math.min(byte, end), Math.max(byte, end)]);
      at += 2;
    } else ranges.push([byte, byte]);
  }
  return (byte) => ranges.some(([from, to]) => from <= byte && byte <= to) !== isNegated;
}
