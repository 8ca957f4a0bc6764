/**
 * The two clocks and the timers of this process, passed in wherever time decides something,
 * so that a test or a simulation can hold them.
 */
export interface Clock {
  /** Milliseconds that never step back; their zero means nothing. */
  monotonic(): number;
  /** Milliseconds since 1970, as this host believes; may step. */
  wall(): number;
  /** Runs `run` once, `ms` milliseconds from now, unless the returned function is called before. */
  after(ms: number, run: () => void): () => void;
  /**
   * Runs `run` once after one more turn of the event loop: what lay in the sockets when this was
   * called has been read by then.
   */
  afterTurn(run: () => void): void;
}

/** setTimeout fires at once for anything longer. */
const LONGEST_TIMER = 2_147_483_647;

export const systemClock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  after(ms, run) {
    let timer: NodeJS.Timeout;
    const arm = (left: number): void => {
      timer =
        left > LONGEST_TIMER
          ? setTimeout(() => arm(left - LONGEST_TIMER), LONGEST_TIMER)
          : setTimeout(run, left);
    };
    if (ms !== Infinity) arm(ms);
    return () => clearTimeout(timer);
  },
  afterTurn(run) {
    // The first of the two may run in this turn, after its sockets were read.
    setImmediate(() => setImmediate(run));
  },
};
