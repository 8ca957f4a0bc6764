import type { LockPart } from '../lock-part.js';
import { hashSlot } from './hash-slot.js';

/** The keys of a lock that share a slot. */
export interface SlotPart extends LockPart {
  readonly slot: number;
}

/**
 * Divides keys by slot, in the order of the slots. Every process takes slots in the same order, so
 * no two processes wait for each other in a circle.
 */
export function partsOf(names: readonly string[], keyPrefix: string): SlotPart[] {
  const bySlot = new Map<number, { names: string[]; keys: string[]; slot: number }>();
  for (const name of names) {
    const key = keyPrefix + name;
    const slot = hashSlot(key);
    let part = bySlot.get(slot);
    if (part === undefined) bySlot.set(slot, (part = { names: [], keys: [], slot }));
    part.names.push(name);
    part.keys.push(key);
  }
  return [...bySlot.values()].toSorted((a, b) => a.slot - b.slot);
}
