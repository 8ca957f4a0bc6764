import { hashSlot } from './hash-slot.js';

/** The keys of a lock that share a slot. */
export interface SlotPart {
  readonly slot: number;
  /** As the caller named them, without the prefix. */
  readonly keys: readonly string[];
}

/**
 * Divides keys by slot, in the order of the slots. Every process takes slots in the same order, so
 * no two processes wait for each other in a circle.
 */
export function partsOf(keys: readonly string[], keyPrefix: string): SlotPart[] {
  const bySlot = new Map<number, string[]>();
  for (const key of keys) {
    const slot = hashSlot(keyPrefix + key);
    bySlot.set(slot, [...(bySlot.get(slot) ?? []), key]);
  }
  return [...bySlot].map(([slot, own]) => ({ slot, keys: own })).toSorted((a, b) => a.slot - b.slot);
}
