import type { Whole } from '../../../common/whole.js';
import { checkOwners, type OwnerCheck } from './check-owners.js';
import type { Command, Reply } from '../resp.js';

interface TrackedLock extends OwnerCheck {
  readonly settle: (lost: number | undefined) => void;
}

/**
 * Has the master report changes of held keys. Client tracking follows the reads of the commit
 * connection, so one read of the keys is enough. The read itself shows every earlier change, so no
 * change is missed. All locks of one turn of the event loop share a batch.
 */
export class KeyTracking {
  private toSend: TrackedLock[] = [];

  constructor(
    /**
     * Sends on the commit connection. Rejects if there is none, or if it ends before the answer.
     */
    private readonly ask: (commands: readonly Command[]) => Promise<Reply[]>,
  ) {}

  /**
   * Resolves to the index of the first key that the owner has lost, to -1 if the owner holds all
   * keys, or to undefined if the server did not answer.
   */
  add(check: Whole<OwnerCheck>): Promise<number | undefined> {
    return new Promise((settle) => {
      if (this.toSend.push({ ...check, settle }) === 1) process.nextTick(() => void this.send());
    });
  }

  private async send(): Promise<void> {
    const locks = this.toSend.splice(0);
    const found = await checkOwners(locks, this.ask);
    for (const lock of locks) lock.settle(found.get(lock));
  }
}
