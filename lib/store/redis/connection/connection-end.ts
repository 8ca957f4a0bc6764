/** The end of one connection, which comes once, and the listeners that wait for the end. */
export class ConnectionEnd {
  private readonly listeners = new Set<(cause: unknown) => void>();
  private reached: { readonly cause: unknown } | undefined;

  get isReached(): boolean {
    return this.reached !== undefined;
  }

  /** As `Connection.onEnd`. */
  onEnd(listener: (cause: unknown) => void): () => void {
    if (this.reached !== undefined) listener(this.reached.cause);
    else this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Calls `dispose`, then the listeners. Has no effect after the first call. */
  reach(cause: unknown, dispose: () => void): void {
    if (this.reached !== undefined) return;
    this.reached = { cause };
    dispose();
    for (const listener of this.listeners) listener(cause);
    this.listeners.clear();
  }
}
