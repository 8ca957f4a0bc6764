/** The number of slots in a Redis Cluster. */
export const SLOTS = 16_384;

/**
 * CRC16 (XMODEM), by byte: the hash by which the [Redis Cluster
 * specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/)
 * divides keys.
 */
const CRC = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc;
});

/** First and last slot of each range. */
export type SlotRanges = readonly (readonly [from: number, to: number])[];

export function hasSlot(ranges: SlotRanges, slot: number): boolean {
  return ranges.some(([from, to]) => from <= slot && slot <= to);
}

/**
 * The slot of a Redis key, prefix included. If the key has a hash tag, `{...}`, only the text
 * between the braces counts.
 */
export function hashSlot(key: string): number {
  let crc = 0;
  for (const byte of Buffer.from(tagOf(key))) crc = ((crc << 8) & 0xffff) ^ CRC[(crc >> 8) ^ byte]!;
  return crc % SLOTS;
}

function tagOf(key: string): string {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  return close > open + 1 ? key.slice(open + 1, close) : key;
}
