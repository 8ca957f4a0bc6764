import { batchesOf } from './batches.js';
import type { Command, Reply } from './connection.js';
import { lookScript, UNREADABLE } from './scripts/look.js';
import type { ScriptCall } from './scripts/script.js';

/** What an owner should hold: keys as Redis knows them. */
export interface Claim extends ScriptCall {
  /** The hash slot of all keys; undefined where there is no Cluster. */
  readonly slot: number | undefined;
}

/** Reads the keys. For each claim the place of the first key that its owner does not hold, -1 where it holds all; none for those that were not answered. */
export async function readClaims<T extends Claim>(
  claims: readonly T[],
  ask: (commands: readonly Command[]) => Promise<Reply[]>,
): Promise<Map<T, number>> {
  const batches = batchesOf(claims);
  // With its text, however often: nobody asks again where the server has forgotten its scripts.
  const commands = batches.map((batch) =>
    lookScript.command(lookScript.keysOf(batch), lookScript.argsOf(batch), false),
  );
  const replies = await ask(commands).catch(() => []);
  const found = new Map<T, number>();
  batches.forEach((batch, index) => {
    const reply = replies[index];
    if (!Array.isArray(reply)) return;
    batch.forEach((claim, place) => {
      const answer = Number(reply[place]);
      if (answer !== UNREADABLE) found.set(claim, answer - 1);
    });
  });
  return found;
}
