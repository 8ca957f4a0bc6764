import type { Clock } from '../lib/common/clock.js';

/** Random numbers that a seed decides (mulberry32). */
export class Dice {
  constructor(private state: number) {}

  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  between(least: number, most: number): number {
    return least + this.next() * (most - least);
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.next() * from.length)]!;
  }
}

/** What an event loop calls back for. Each turn runs the timers first, then the sockets. */
export type Cause = 'timer' | 'socket';

interface Happening {
  at: number;
  order: number;
  readonly host: SimHost;
  readonly run: () => void;
  readonly cause: Cause;
  isCancelled: boolean;
  /** The busy event loop of the host has reached its turn. */
  isItsTurn: boolean;
}

/**
 * A machine of the simulation, with clocks of its own. A frozen host handles events after the
 * freeze. A busy host handles events at the end of each turn of the event loop.
 */
export class SimHost implements Clock {
  state: 'running' | 'frozen' | 'dead' = 'running';
  private isBusy = false;
  private readonly missed: Happening[] = [];

  constructor(
    readonly world: SimWorld,
    readonly name: string,
    /** Seconds of this host's clocks in a true second: about 1. */
    private readonly rate = 1,
    /** ms that the host's wall clock is ahead. */
    private wallOffset = 0,
    /**
     * The host runs the library, whose promises must settle before the next event. Servers have no
     * promises.
     */
    readonly hasPromises = false,
  ) {}

  monotonic(): number {
    return 1e6 + this.world.now * this.rate;
  }

  wall(): number {
    return 1.7e12 + this.world.now * this.rate + this.wallOffset;
  }

  after(ms: number, run: () => void): () => void {
    return ms === Infinity ? () => {} : this.world.happen(ms / this.rate, this, run);
  }

  /** Events of the same instant, and events that a frozen host missed, come first. */
  afterTurn(run: () => void): void {
    this.after(0, run);
  }

  stepWall(ms: number): void {
    this.wallOffset += ms;
  }

  setWallOffset(ms: number): void {
    this.wallOffset = ms;
  }

  /** The host handles events as they come. */
  get isAwake(): boolean {
    return this.state === 'running' && !this.isBusy;
  }

  /**
   * False if the host cannot handle the event now. A host that is not dead handles the event later.
   */
  attendsTo(happening: Happening): boolean {
    if (this.state === 'running' && (!this.isBusy || happening.isItsTurn)) return true;
    if (this.state !== 'dead') this.missed.push(happening);
    return false;
  }

  freeze(): void {
    if (this.state === 'running') this.state = 'frozen';
  }

  thaw(): void {
    if (this.state !== 'frozen') return;
    this.state = 'running';
    this.catchUp(false);
  }

  /** For `ms`, the event loop runs only every `turnTime()` ms. */
  beBusy(ms: number, turnTime: () => number): void {
    const end = this.world.now + ms;
    this.isBusy = true;
    const turn = (): void => {
      this.catchUp(true);
      if (this.world.now >= end) this.isBusy = false;
      else this.world.happen(turnTime(), this, turn, 'timer', true);
    };
    this.world.happen(turnTime(), this, turn, 'timer', true);
  }

  die(): void {
    this.state = 'dead';
    this.missed.length = 0;
  }

  /** Handles missed events in the order of an event loop: due timers first, then the sockets. */
  private catchUp(isItsTurn: boolean): void {
    const missed = this.missed.splice(0);
    for (const cause of ['timer', 'socket'] as const) {
      for (const happening of missed) {
        if (happening.cause !== cause) continue;
        happening.isItsTurn ||= isItsTurn;
        this.world.again(happening);
      }
    }
  }
}

/** Virtual time: all events, one after the other, as the seed decides. */
export class SimWorld {
  now = 0;
  private readonly told: { at: number; who: string; what: string }[] = [];
  private readonly heap: Happening[] = [];
  private order = 0;

  constructor(readonly dice: Dice) {}

  tell(who: string, what: string): void {
    this.told.push({ at: this.now, who, what });
  }

  /** What happened, one line per event. */
  get history(): string[] {
    return this.told.map(({ at, who, what }) => `${at.toFixed(1).padStart(9)}  ${who.padEnd(8)} ${what}`);
  }

  /**
   * Runs `run` on the host in `ms` of true time. Returns a function that cancels the run. `isTurn`:
   * a turn of the host's busy event loop.
   */
  happen(ms: number, host: SimHost, run: () => void, cause: Cause = 'timer', isTurn = false): () => void {
    const happening: Happening = {
      at: this.now + Math.max(0, ms),
      order: this.order++,
      host,
      run,
      cause,
      isCancelled: false,
      isItsTurn: isTurn,
    };
    this.push(happening);
    return () => {
      happening.isCancelled = true;
    };
  }

  /**
   * Handles a missed event now, after events that were missed earlier. A cancelled event is not
   * handled.
   */
  again(happening: Happening): void {
    happening.at = this.now;
    happening.order = this.order++;
    this.push(happening);
  }

  /** Runs all events up to the instant, and calls `check` after each. */
  async runUntil(instant: number, check: () => void): Promise<void> {
    await settle();
    for (let next = this.heap[0]; next !== undefined && next.at <= instant; next = this.heap[0]) {
      this.pop();
      if (next.isCancelled) continue;
      this.now = Math.max(this.now, next.at);
      if (!next.host.attendsTo(next)) continue;
      next.run();
      if (!next.host.hasPromises) continue;
      await settle();
      check();
    }
    this.now = instant;
  }

  /** How many events are still to come on these hosts. */
  pendingOf(hosts: readonly SimHost[]): number {
    return this.heap.filter(({ host, isCancelled }) => !isCancelled && hosts.includes(host)).length;
  }

  private push(happening: Happening): void {
    const { heap } = this;
    let at = heap.push(happening) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(happening, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = happening;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Happening, b: Happening): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Lets promises and ticks run as far as they can at this instant. */
async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise<void>((resolve) => process.nextTick(resolve));
}
