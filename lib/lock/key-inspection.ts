import type { ListRequest, LockStore } from '../store/lock-store.js';
import { answered, LockUnavailableError } from './errors.js';
import { keyOf, ownerOf } from './keys.js';
import { listOptionsOf } from './list-options.js';
import { lockInfos, type LockInfo } from './lock-info.js';

/** One page of `LockService.list`. */
export interface LockPage {
  readonly locks: readonly LockInfo[];
  /** For the next page. Undefined: this page was the last. */
  readonly cursor?: string;
}

/** What operators ask: who holds a key or any key, and that a key is freed. */
export class KeyInspection {
  constructor(
    private readonly store: LockStore,
    /** Makes the store connect. Called before each question. */
    private readonly open: () => void,
  ) {}

  async inspectAll(key: string): Promise<readonly LockInfo[]> {
    const keys = [keyOf(key)];
    this.open();
    return lockInfos(key, answered(keys, await this.store.inspect(key), 'inspected'));
  }

  async forceRelease(key: string, owner?: string): Promise<boolean> {
    const keys = [keyOf(key)];
    this.open();
    return answered(keys, await this.store.forceRelease(key, ownerOf(owner)), 'released').wasHeld;
  }

  async page(options?: ListRequest): Promise<LockPage> {
    const request = listOptionsOf(options);
    this.open();
    const outcome = await this.store.list(request);
    if (outcome.kind === 'unavailable') throw new LockUnavailableError([], outcome, 'listed');
    const { locks, cursor } = outcome;
    return {
      locks: locks.flatMap(({ key, ...found }) => lockInfos(key, found)),
      ...(cursor !== undefined && { cursor }),
    };
  }

  /** Asks for a page only once all locks of the page before were taken. */
  list(options?: Pick<ListRequest, 'match'>): AsyncIterable<LockInfo> {
    const { match } = listOptionsOf(options, ['match']);
    return this.pages(match);
  }

  private async *pages(match: string | undefined): AsyncGenerator<LockInfo, void> {
    let cursor: string | undefined;
    do {
      const page = await this.page({ match, cursor });
      yield* page.locks;
      ({ cursor } = page);
    } while (cursor !== undefined);
  }
}
