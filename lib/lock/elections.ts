import { isDeepStrictEqual } from 'node:util';
import { LockElection, type ElectionHost } from './election.js';
import { checkElectOptions, type CheckedElectOptions, type ElectOptions } from './election-options.js';
import { LockOptionsError } from './errors.js';
import type { ElectionHealth } from './lock-info.js';
import type { ResolvedOptions } from './options.js';

/** Options as they are understood: '3s' and 3000 are the same. */
interface ComparedOptions {
  readonly lock: ResolvedOptions;
  /** ms */
  readonly retryTime: number;
}

interface Known {
  readonly election: LockElection;
  readonly options: ComparedOptions;
  /** The options as the first caller gave them. */
  readonly given: ElectOptions | undefined;
}

/** The elections for which one service stands: one for each key. */
export class Elections {
  private readonly elections = new Map<string, Known>();
  private readonly host: ElectionHost;

  constructor(
    host: Omit<ElectionHost, 'ended'>,
    /** Throws `LockOptionsError`. */
    private readonly resolve: (options: CheckedElectOptions['lock']) => ResolvedOptions,
  ) {
    this.host = {
      ...host,
      ended: (election) => {
        if (this.elections.get(election.key)?.election === election) this.elections.delete(election.key);
      },
    };
  }

  /** The election of this key. A second call for the key returns the same election. */
  elect(key: string, given?: ElectOptions): LockElection {
    const known = this.elections.get(key);
    // A decorated method asks at each call.
    if (known !== undefined && given === known.given) return known.election;
    const { lock, retryTime } = checkElectOptions(key, given);
    const options = { lock: this.resolve(lock), retryTime };
    if (known !== undefined) {
      if (given !== undefined && !isDeepStrictEqual(options, known.options))
        throw new LockOptionsError(
          'elect',
          given,
          `This process already stands for the election '${key}' with other options: give them once, or the same each time.`,
        );
      return known.election;
    }
    const election = new LockElection(key, { lock, retryTime }, this.host);
    this.elections.set(key, { election, options, given });
    return election;
  }

  /** Gives all leaderships back once their work has ended. */
  resignAll(): void {
    for (const { election } of this.elections.values()) void election.resign();
  }

  get health(): readonly ElectionHealth[] {
    return [...this.elections.values()].map(({ election: { key, isLeader }, options }) => ({
      key,
      label: options.lock.label ?? key,
      isLeader,
    }));
  }
}
