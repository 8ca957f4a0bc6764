import { acquireScript, type AcquireAnswer, type AcquireCall } from './acquire.js';
import { checkOwnerScript } from './check-owner.js';
import { dropScript } from './drop.js';
import { keepScript } from './keep.js';
import { releaseScript, type ReleaseCall } from './release.js';
import { renewScript, type RenewAnswer, type RenewCall } from './renew.js';
import type { GroupScript, ScriptCall } from './script.js';

/**
 * The scripts of one kind of lock. Each request carries the scripts of its kind, so a run serves
 * requests of one kind.
 */
export interface LockScripts {
  readonly acquire: GroupScript<AcquireCall, AcquireAnswer>;
  readonly renew: GroupScript<RenewCall, RenewAnswer>;
  /** Answers whether the owner held all keys or had released them. */
  readonly release: GroupScript<ReleaseCall, boolean>;
  /**
   * Answers the index of the first key that the owner does not hold, -1 if the owner holds all, or
   * undefined if the server refuses to read a key.
   */
  readonly checkOwner: GroupScript<ScriptCall, number | undefined>;
}

/** One holder for each key. */
export const MUTEX: LockScripts = {
  acquire: acquireScript,
  renew: renewScript,
  release: releaseScript,
  checkOwner: checkOwnerScript,
};

/**
 * The end of work that runs once. To renew is to keep the result, and to release is to take the
 * result back.
 */
export const RUN_ONCE: LockScripts = { ...MUTEX, renew: keepScript, release: dropScript };
