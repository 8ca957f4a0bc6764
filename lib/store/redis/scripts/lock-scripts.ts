import { acquirePermitScript } from './acquire-permit.js';
import { acquireScript, type AcquireAnswer, type AcquireCall } from './acquire.js';
import { checkOwnerScript } from './check-owner.js';
import { checkPermitScript } from './check-permit.js';
import { dropScript } from './drop.js';
import { keepScript } from './keep.js';
import { releasePermitScript } from './release-permit.js';
import { releaseScript, type ReleaseCall } from './release.js';
import { renewPermitScript } from './renew-permit.js';
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

/** Several holders for each key. */
export const PERMIT: LockScripts = {
  acquire: acquirePermitScript,
  renew: renewPermitScript,
  release: releasePermitScript,
  checkOwner: checkPermitScript,
};

/**
 * For a mutex whose key is shared now: the script counts the holders inside. The mutex that is granted
 * is the same as any other.
 */
export const MUTEX_OF_SHARED_KEY: LockScripts = { ...MUTEX, acquire: acquirePermitScript };

/** The scripts for locks with this limit. */
export function scriptsFor(limit: number): LockScripts {
  return limit === 1 ? MUTEX : PERMIT;
}
