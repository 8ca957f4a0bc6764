/** CLIENT PAUSE: which commands wait for the end of the pause. */
export class ClientPause {
  private until = -Infinity;
  private stopsAll = false;

  /** If two pauses overlap, the later end and the stricter kind apply. */
  begin(now: number, until: number, stopsAll: boolean): void {
    this.stopsAll = stopsAll || (this.stopsAll && now < this.until);
    this.until = Math.max(this.until, until);
  }

  end(): void {
    this.until = -Infinity;
  }

  /** Every script counts as a write, even a script that only reads. */
  stops(now: number, command: string): boolean {
    return now < this.until && (this.stopsAll || command === 'eval' || command === 'evalsha');
  }

  isOver(now: number): boolean {
    return now >= this.until;
  }
}

/**
 * What CLIENT UNBLOCK ERROR does to a paused command. Redis 7.0 answers UNBLOCKED, but runs the
 * command at the end of the pause. Redis 8 and Valkey 8 answer and drop the command. Valkey 9 does
 * nothing.
 */
export const UNBLOCKINGS = ['runs later', 'drops', 'nothing'] as const;
export type Unblocking = (typeof UNBLOCKINGS)[number];
