import { hashSlot } from './hash-slot.js';

/** Those keys of a lock that share a slot. */
export interface SlotPart {
  readonly slot: number;
  /** As the user named them. */
  readonly keys: readonly string[];
}

/** Divides keys by slot, in the order of the slots: everybody takes them in the same order, so nobody waits in a circle. */
export function partsOf(keys: readonly string[], keyPrefix: string): SlotPart[] {
  const bySlot = new Map<number, string[]>();
  for (const key of keys) {
    const slot = hashSlot(keyPrefix + key);
    bySlot.set(slot, [...(bySlot.get(slot) ?? []), key]);
  }
  return [...bySlot].map(([slot, own]) => ({ slot, keys: own })).toSorted((a, b) => a.slot - b.slot);
}
