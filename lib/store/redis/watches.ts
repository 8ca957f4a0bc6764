import { readClaims, type Claim } from './claims.js';
import type { Command, Reply } from './connection.js';

interface Watch extends Claim {
  readonly settle: (lost: number | undefined) => void;
}

/**
 * Has the master tell of changes to keys that are held: a read on the commit connection, whose reads it tracks. What has changed before is
 * seen by that read itself, so nothing falls between. All that come up in one turn of the event loop travel together.
 */
export class Watches {
  private toSend: Watch[] = [];

  constructor(
    /** Asks on the commit connection; rejects if there is none, or if it ends before the answer. */
    private readonly ask: (commands: readonly Command[]) => Promise<Reply[]>,
  ) {}

  /** Answers with the place of the first key that the owner does not hold any more, -1 where it holds all; undefined where that was not answered. */
  add(claim: Claim): Promise<number | undefined> {
    return new Promise((settle) => {
      if (this.toSend.push({ ...claim, settle }) === 1) process.nextTick(() => void this.send());
    });
  }

  private async send(): Promise<void> {
    const watches = this.toSend.splice(0);
    const found = await readClaims(watches, this.ask);
    for (const watch of watches) watch.settle(found.get(watch));
  }
}
