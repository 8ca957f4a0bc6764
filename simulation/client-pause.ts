/** CLIENT PAUSE: which commands wait for its end. */
export class ClientPause {
  private until = -Infinity;
  private stopsAll = false;

  /** Of two that overlap the later end and the stricter kind are in force. */
  begin(now: number, until: number, stopsAll: boolean): void {
    this.stopsAll = stopsAll || (this.stopsAll && now < this.until);
    this.until = Math.max(this.until, until);
  }

  end(): void {
    this.until = -Infinity;
  }

  /** A script is one that may write, whatever it does. */
  stops(now: number, command: string): boolean {
    return now < this.until && (this.stopsAll || command === 'eval' || command === 'evalsha');
  }

  isOver(now: number): boolean {
    return now >= this.until;
  }
}
