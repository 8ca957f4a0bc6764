import { NO_INDEX } from '../../../common/intrusive-set.js';
import type { Whole } from '../../../common/whole.js';
import type { ReleaseOutcome, Unavailable } from '../../lock-store.js';
import type { LockScripts } from '../scripts/lock-scripts.js';
import type { ReleaseCall } from '../scripts/release.js';

/** A lock that is to be released, or an attempt that is to be taken back. */
export interface ReleaseRequest extends Omit<ReleaseCall, 'tombstone'> {
  /** The hash slot of the keys; undefined without a Cluster. */
  readonly slot: number | undefined;
  readonly scripts: LockScripts;
}

/**
 * A release that Redis has not answered yet. The constructor names each property: a spread of the
 * request costs 5 KiB for each release.
 */
export class Release implements Whole<ReleaseRequest>, ReleaseCall {
  readonly keys: readonly string[];
  readonly slot: number | undefined;
  readonly scripts: LockScripts;
  readonly owner: string;
  readonly token: number;
  /** ms that the keys stay busy, counted from the time of sending. */
  cooldown: number;
  /** The monotonic instant until which the keys stay busy; undefined if they are freed. */
  readonly cooldownUntil: number | undefined;
  wasSent = false;
  /** The server may have run the script: an answer was lost, or an error does not exclude that. */
  mayHaveRun = false;
  /** The release gets a batch of its own: it was refused together with others. */
  isAlone = false;
  /** The server's last refusal. The server may accept the release later. */
  refused: Unavailable | undefined;
  /** The index in the set of unanswered releases. */
  index = NO_INDEX;

  constructor(
    { keys, slot, scripts, owner, token, cooldown }: ReleaseRequest,
    /** The monotonic instant since which the release waits to be sent to its master. */
    public queuedAt: number,
    /** The monotonic instant at which the caller gets `unavailable` if no answer came. */
    public answerBy: number,
    /** The monotonic instant after which every key has expired. */
    readonly until: number,
    /** ms that the bare token stays in a freed key. */
    readonly tombstone: number,
    readonly settle: (outcome: ReleaseOutcome) => void,
  ) {
    this.keys = keys;
    this.slot = slot;
    this.scripts = scripts;
    this.owner = owner;
    this.token = token;
    this.cooldown = cooldown;
    this.cooldownUntil = cooldown > 0 ? queuedAt + cooldown : undefined;
  }
}
