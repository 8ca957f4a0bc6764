import { batchesOf, type Batch } from '../scripts/script-batches.js';
import { ErrorReply, type Command, type Reply } from '../resp.js';
import { mayBlameOne } from '../connection/error-replies.js';
import type { LockScripts } from '../scripts/lock-scripts.js';
import type { ScriptCall } from '../scripts/script.js';

/** The keys that an owner should hold, as Redis knows them. */
export interface OwnerCheck extends ScriptCall {
  /** The hash slot of all keys; undefined without a Cluster. */
  readonly slot: number | undefined;
  readonly scripts: LockScripts;
}

/**
 * Reads the keys. The result has for each check the index of the first key that its owner does not
 * hold, or -1 if the owner holds all; a check that was not answered is missing.
 */
export async function checkOwners<T extends OwnerCheck>(
  checks: readonly T[],
  ask: (commands: readonly Command[]) => Promise<Reply[]>,
): Promise<Map<T, number>> {
  const found = new Map<T, number>();
  const refused = await checkBatches(batchesOf(checks), ask, found);
  // A batch is refused as a whole, perhaps for the keys of one check.
  const alone = refused.map((check) => ({ scripts: check.scripts, items: [check] }));
  if (alone.length > 0) await checkBatches(alone, ask, found);
  return found;
}

/** Adds the results to `found`, and returns the checks that were refused together with others. */
async function checkBatches<T extends OwnerCheck>(
  batches: readonly Batch<T>[],
  ask: (commands: readonly Command[]) => Promise<Reply[]>,
  found: Map<T, number>,
): Promise<T[]> {
  // With the script's text each time: a check is not repeated if the server has forgotten the
  // script.
  const commands = batches.map(({ scripts: { checkOwner }, items }) =>
    checkOwner.command(checkOwner.keysOf(items), checkOwner.argsOf(items), false),
  );
  const replies = await ask(commands).catch(() => []);
  const refused: T[] = [];
  batches.forEach(({ scripts, items }, index) => {
    const reply = replies[index];
    if (Array.isArray(reply)) {
      items.forEach((check, position) => {
        const lost = scripts.checkOwner.decode(reply[position]);
        if (lost !== undefined) found.set(check, lost);
      });
    } else if (reply instanceof ErrorReply && mayBlameOne(reply) && items.length > 1) refused.push(...items);
  });
  return refused;
}
