import { SKEW, type Scene, type Worker } from './scene.js';
import type { SimServer } from './server.js';

export const ONCE_KEYS = ['once-a', 'once-b'] as const;
/** ms */
const KEEP_FOR = 3_000;
/**
 * ms by which a result may end early: the clock of its server may be set ahead by `SKEW`, and the
 * clocks of a process and of the world differ a little over `KEEP_FOR`.
 */
const TOLERANCE = SKEW + 25;

interface Run {
  readonly key: string;
  readonly number: number;
}

/** A result that a quorum has confirmed. */
interface Confirmed {
  readonly until: number;
  readonly master: SimServer;
  readonly runId: string;
}

/** Processes that call `once` with the same keys, and what must hold for the results. */
export class OnceRuns {
  /** By number, the runs that have returned a result. */
  private readonly returned = new Map<number, Run>();
  private readonly confirmed = new Map<string, Confirmed>();
  private runs = 0;

  constructor(
    private readonly scene: Scene,
    private readonly violate: (what: string, detail: string) => void,
  ) {}

  /** Calls `once` while `goesOn` returns true. */
  async take(worker: Worker, goesOn: () => boolean): Promise<void> {
    const { world, watch } = this.scene;
    const { dice } = world;
    const { host, service } = worker;
    while (goesOn()) {
      const key = dice.pick(ONCE_KEYS);
      let endedAt = 0;
      let before: { master: SimServer; runId: string } | undefined;
      const work = async (): Promise<Run> => {
        const run = { key, number: ++this.runs };
        before = { master: watch.master, runId: watch.master.runId };
        this.begins(worker, run);
        await sleep(host, dice.chance(0.7) ? dice.between(1, 100) : dice.between(100, 3_000));
        if (dice.chance(0.25)) throw new Error('the work failed');
        endedAt = world.now;
        this.returned.set(run.number, run);
        return run;
      };
      try {
        const waitTime = dice.pick([0, 300, 800]);
        const { result, ran } = await service.once(key, { keepFor: KEEP_FOR, waitTime }, work);
        world.tell(host.name, `${ran ? 'ran' : 'reads'} ${key}: ${JSON.stringify(result)}`);
        if (this.returned.get(result.number)?.key !== key)
          this.violate('a result is of no run that returned it', `${key}: ${JSON.stringify(result)}`);
        if (ran && before !== undefined && this.isMaster(before))
          this.confirmed.set(key, { ...before, until: endedAt + KEEP_FOR - TOLERANCE });
      } catch {
        // In a schedule with faults every kind of error may occur.
      }
      await sleep(host, dice.between(1, 400));
    }
  }

  private begins({ host }: Worker, { key, number }: Run): void {
    const { world } = this.scene;
    world.tell(host.name, `begins run ${number} of ${key}`);
    const kept = this.confirmed.get(key);
    // Another master, or one that has restarted, may have lost the result.
    if (kept !== undefined && world.now < kept.until && this.isMaster(kept))
      this.violate('work ran again although its result was confirmed', `${key}: run ${number}`);
  }

  private isMaster({ master, runId }: Pick<Confirmed, 'master' | 'runId'>): boolean {
    return this.scene.watch.master === master && master.runId === runId;
  }
}

function sleep(host: Worker['host'], ms: number): Promise<void> {
  return new Promise((resolve) => host.after(ms, resolve));
}
