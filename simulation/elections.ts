import { LockLostError } from '../lib/lock/errors.js';
import type { LockElection } from '../lib/lock/election.js';
import type { Lock } from '../lib/lock/lock.js';
import type { Scene, Worker } from './scene.js';

export const ELECTION_KEY = 'leader';
/** ms */
const RETRY_TIME = 400;

interface Leading {
  readonly term: Lock;
  /** Work of the term that runs. */
  works: number;
}

/** Processes that stand for one election, resign and stand again, and what must hold for them. */
export class Elections {
  private readonly standing = new Map<Worker, LockElection>();
  private readonly terms = new Map<Lock, Worker>();
  private readonly leading = new Map<string, Leading>();
  /** The owners of terms that a forced release may have ended. */
  private readonly removed = new Set<string>();
  private removals = 0;
  /** The instant since which two terms have a signal that has not aborted. */
  private overlapsSince: number | undefined;

  constructor(
    private readonly scene: Scene,
    private readonly violate: (what: string, detail: string) => void,
  ) {}

  /** Stands, resigns and stands again while `goesOn` returns true. */
  async take(worker: Worker, goesOn: () => boolean): Promise<void> {
    const { dice } = this.scene.world;
    const { host, service } = worker;
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => host.after(ms, resolve));
    while (goesOn()) {
      const election = service.elect(ELECTION_KEY, { retryTime: RETRY_TIME });
      this.standing.set(worker, election);
      election.changes.subscribe(({ type, term }) => this.onChange(worker, type, term));
      void election.run((term) => this.lead(worker, term));
      const end = host.world.now + dice.between(100, 4_000);
      while (host.world.now < end && goesOn()) {
        election
          .runIfLeader((term) => this.work(term, sleep(dice.between(1, 100))))
          .catch((error: unknown) => {
            if (!(error instanceof LockLostError)) this.violate('work of a leader failed', String(error));
          });
        await sleep(dice.between(10, 300));
        if (dice.chance(0.03)) void this.remove(worker);
      }
      await election.resign();
      await sleep(dice.between(1, 500));
    }
  }

  /** At most one process leads, by what each process believes. */
  check(): void {
    const { world } = this.scene;
    const leaders = [...this.standing]
      .filter(([, { isLeader, term }]) => isLeader && !this.removed.has(term!.owner))
      .map(([{ host }]) => host.name);
    if (leaders.length > 1) this.violate('two processes lead', leaders.join(' and '));
    let signals = 0;
    for (const [term, { host }] of this.terms)
      if (term.signal.aborted) this.terms.delete(term);
      else if (host.isAwake && !this.removed.has(term.owner)) signals++;
    // A process that was stopped handles its missed timers one after the other.
    if (signals < 2) this.overlapsSince = undefined;
    else if ((this.overlapsSince ??= world.now) < world.now)
      this.violate('the signals of two terms have not aborted', String(signals));
  }

  private onChange({ host }: Worker, type: string, term: Lock): void {
    this.scene.world.tell(host.name, `is ${type} with ${term.fencingToken}`);
    if (type === 'elected') {
      if (this.removals > 0) this.removed.add(term.owner);
      return;
    }
    const { works = 0 } = this.leading.get(term.owner) ?? {};
    if (type === 'resigned' && works > 0)
      this.violate('a term was given back before its work had ended', `${works} works`);
  }

  private async lead(worker: Worker, term: Lock): Promise<void> {
    const { dice } = this.scene.world;
    this.terms.set(term, worker);
    const ends = new Promise<void>((resolve) => {
      // Some work ends by itself, and other work lasts as long as the term.
      if (dice.chance(0.3)) worker.host.after(dice.between(50, 2_000), resolve);
      term.signal.addEventListener('abort', () => worker.host.after(dice.between(1, 80), resolve));
    });
    await this.work(term, ends);
    this.terms.delete(term);
  }

  private async work(term: Lock, ends: Promise<void>): Promise<void> {
    const leading = this.leading.get(term.owner) ?? { term, works: 0 };
    this.leading.set(term.owner, leading);
    leading.works++;
    await ends;
    leading.works--;
  }

  /**
   * Removes the key by force. The next leader may be elected before the old one is told, so these
   * terms are not compared.
   */
  private async remove({ host, service }: Worker): Promise<void> {
    this.scene.world.tell(host.name, 'removes the leader');
    this.removals++;
    for (const { term } of this.standing.values()) if (term !== undefined) this.removed.add(term.owner);
    await service.forceRelease(ELECTION_KEY).catch(() => {});
    // A command whose answer was lost may still be on its way.
    host.after(6_000, () => this.removals--);
  }
}
