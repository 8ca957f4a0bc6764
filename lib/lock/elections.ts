import { isDeepStrictEqual } from 'node:util';
import { LockElection, type ElectionHost } from './election.js';
import { checkElectOptions, type CheckedElectOptions, type ElectOptions } from './election-options.js';
import { thrownText } from './error-texts.js';
import { LockOptionsError } from './errors.js';
import type { ElectionHealth } from './lock-info.js';
import type { Lock } from './lock.js';
import type { ResolvedOptions } from './options.js';

/** Options as they are understood: '3s' and 3000 are the same. */
interface ComparedOptions {
  readonly lock: ResolvedOptions;
  /** ms */
  readonly retryTime: number;
}

interface KnownOptions {
  readonly checked: CheckedElectOptions;
  readonly compared: ComparedOptions;
  /** The options as the caller gave them. */
  readonly given: ElectOptions | undefined;
}

type Work = (term: Lock) => unknown;

/** A key for which this process stands, or which a decorator names. */
class Known {
  election: LockElection | undefined;
  /** A decorator names the key. */
  isDeclared = false;
  /** The work of a decorator. Every election of the key runs it. */
  work: Work | undefined;
  /** The election that runs the work. */
  private workedBy: LockElection | undefined;
  /** Resolves when the work of all earlier elections has ended. */
  private working: Promise<void> | undefined;

  constructor(public options: KnownOptions) {}

  /** Has the work of the decorator run by the present election. */
  startWork(onError: (error: unknown) => void): void {
    const { election, work } = this;
    if (election === undefined || work === undefined || election === this.workedBy) return;
    this.workedBy = election;
    const run = (): Promise<void> => election.run(work).catch(onError);
    this.working = this.working === undefined ? run() : this.working.then(run);
  }
}

/** The elections for which one service stands: one for each key. */
export class Elections {
  private readonly known = new Map<string, Known>();
  private readonly host: ElectionHost;

  constructor(
    host: Omit<ElectionHost, 'ended'>,
    /** Throws `LockOptionsError`. */
    private readonly resolve: (options: CheckedElectOptions['lock']) => ResolvedOptions,
  ) {
    this.host = { ...host, ended: (election) => this.onEnded(election) };
  }

  /**
   * The election of this key. A second call for the key returns the same election, unless that
   * resigns: the next election then begins after its end.
   */
  elect(key: string, given?: ElectOptions): LockElection {
    let known = this.known.get(key);
    const before = known?.election;
    if (known !== undefined && before?.isEnding === false) this.demandSame(key, known, given);
    else {
      if (known === undefined) this.known.set(key, (known = new Known(this.check(key, given))));
      // The caller may stand again with other options.
      else if (given !== undefined) known.options = this.check(key, given);
      known.election = new LockElection(key, known.options.checked, this.host, before);
    }
    known.startWork((error) => this.onWorkRefused(key, error));
    return known.election!;
  }

  /**
   * Takes in what a decorator says of the key. Begins no election, so that an application whose
   * decorators contradict each other does not start and leaves none behind.
   */
  declare(key: string, given: ElectOptions | undefined, work?: Work): void {
    const known = this.known.get(key) ?? new Known(this.check(key, given));
    const isOpen = known.election === undefined && known.options.given === undefined;
    if (isOpen && given !== undefined) known.options = this.check(key, given);
    else this.demandSame(key, known, given);
    known.isDeclared = true;
    known.work ??= work;
    this.known.set(key, known);
  }

  /**
   * The election for a call of a decorated method. Undefined after a resignation: only `elect` ends
   * that, because a call of a method must not undo what the application decided.
   */
  ofDecorator(key: string, given: ElectOptions | undefined): LockElection | undefined {
    const known = this.known.get(key);
    if (known === undefined) {
      this.declare(key, given);
      return this.elect(key);
    }
    // The explorer does not know the methods of lazily loaded modules, and of objects in tests.
    known.isDeclared = true;
    return known.election;
  }

  /** Gives all leaderships back once their work has ended. */
  resignAll(): void {
    for (const { election } of this.known.values()) void election?.resign();
  }

  get health(): readonly ElectionHealth[] {
    return [...this.known.values()].flatMap(({ election, options }) => {
      if (election === undefined) return [];
      const { key, isLeader } = election;
      return [{ key, label: options.compared.lock.label ?? key, isLeader }];
    });
  }

  private check(key: string, given: ElectOptions | undefined): KnownOptions {
    const checked = checkElectOptions(key, given);
    return { checked, compared: { ...checked, lock: this.resolve(checked.lock) }, given };
  }

  private demandSame(key: string, { options }: Known, given: ElectOptions | undefined): void {
    if (given === undefined || given === options.given) return;
    if (isDeepStrictEqual(this.check(key, given).compared, options.compared)) return;
    throw new LockOptionsError(
      'elect',
      given,
      `This process already stands for the election '${key}' with other options: give them once, or the same each time.`,
    );
  }

  private onEnded(election: LockElection): void {
    const known = this.known.get(election.key);
    if (known?.election !== election) return;
    known.election = undefined;
    if (!known.isDeclared) this.known.delete(election.key);
  }

  /** The application runs other work in the election. */
  private onWorkRefused(key: string, error: unknown): void {
    const message = `The work of the leader of '${key}' does not run: ${thrownText(error)}`;
    this.host.report({ level: 'error', code: 'election-work-failed', message });
  }
}
