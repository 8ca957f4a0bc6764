import { checkOwners, type OwnerCheck } from './check-owners.js';
import type { Command, Reply } from '../resp.js';

interface Watch extends OwnerCheck {
  readonly settle: (lost: number | undefined) => void;
}

/**
 * Has the master tell of changes to keys that are held: a read on the commit connection, whose reads it tracks. What has changed before is
 * seen by that read itself, so nothing falls between. All that come up in one turn of the event loop travel together.
 */
export class KeyTracking {
  private toSend: Watch[] = [];

  constructor(
    /** Asks on the commit connection; rejects if there is none, or if it ends before the answer. */
    private readonly ask: (commands: readonly Command[]) => Promise<Reply[]>,
  ) {}

  /** Answers with the index of the first key that the owner does not hold any more, -1 where it holds all; undefined where that was not answered. */
  add(check: OwnerCheck): Promise<number | undefined> {
    return new Promise((settle) => {
      if (this.toSend.push({ ...check, settle }) === 1) process.nextTick(() => void this.send());
    });
  }

  private async send(): Promise<void> {
    const watched = this.toSend.splice(0);
    const found = await checkOwners(watched, this.ask);
    for (const check of watched) check.settle(found.get(check));
  }
}
