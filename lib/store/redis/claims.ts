import { batchesOf } from './batches.js';
import { ErrorReply, type Command, type Reply } from './connection.js';
import { mayBlameOne } from './refusal.js';
import { lookScript, UNREADABLE } from './scripts/look.js';
import type { ScriptCall } from './scripts/script.js';

/** What an owner should hold: keys as Redis knows them. */
export interface Claim extends ScriptCall {
  /** The hash slot of all keys; undefined where there is no Cluster. */
  readonly slot: number | undefined;
}

/**
 * Reads the keys. The result has for each claim the place of the first key that its owner does not
 * hold, or -1 if the owner holds all; a claim that was not answered is missing.
 */
export async function readClaims<T extends Claim>(
  claims: readonly T[],
  ask: (commands: readonly Command[]) => Promise<Reply[]>,
): Promise<Map<T, number>> {
  const found = new Map<T, number>();
  const refused = await readRuns(batchesOf(claims), ask, found);
  // A run is refused as a whole, perhaps for the keys of one claim.
  if (refused.length > 0)
    await readRuns(
      refused.map((claim) => [claim]),
      ask,
      found,
    );
  return found;
}

/** Puts what the runs find in `found`, and answers the claims that were refused together with others. */
async function readRuns<T extends Claim>(
  runs: readonly T[][],
  ask: (commands: readonly Command[]) => Promise<Reply[]>,
  found: Map<T, number>,
): Promise<T[]> {
  // With its text, however often: nobody asks again where the server has forgotten its scripts.
  const commands = runs.map((run) =>
    lookScript.command(lookScript.keysOf(run), lookScript.argsOf(run), false),
  );
  const replies = await ask(commands).catch(() => []);
  const refused: T[] = [];
  runs.forEach((run, index) => {
    const reply = replies[index];
    if (Array.isArray(reply)) {
      run.forEach((claim, place) => {
        const answer = Number(reply[place]);
        if (answer !== UNREADABLE) found.set(claim, answer - 1);
      });
    } else if (reply instanceof ErrorReply && mayBlameOne(reply) && run.length > 1) refused.push(...run);
  });
  return refused;
}
