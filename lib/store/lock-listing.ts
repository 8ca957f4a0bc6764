import type { InspectOutcome, KeptResult, Unavailable } from './lock-store.js';

/** How many keys a store reads for one page: a hint, so a page may have more, fewer or none. */
export const PAGE_SIZE = 200;

/** Asks for one page of the keys that are held or keep a result. */
export interface ListRequest {
  /** A glob of Redis on the keys as the user named them, see `KeyGlob`. Undefined: all keys. */
  readonly match?: string | undefined;
  /**
   * The cursor of the page before. Undefined: the first page. A text that no page had stands for any
   * place of the walk.
   */
  readonly cursor?: string | undefined;
}

export type ListOutcome = ListedPage | Unavailable;

export interface ListedPage {
  readonly kind: 'page';
  readonly locks: readonly ListedKey[];
  /** For the next page. Undefined: this page was the last. */
  readonly cursor?: string;
}

/** A key with its holders, or with the result that the key keeps. */
export type ListedKey = { readonly key: string } & (
  Extract<InspectOutcome, { readonly kind: 'held' }> | KeptResult
);
