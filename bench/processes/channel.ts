import type { ChildProcess } from 'node:child_process';

/** Messages between the benchmark and one of its processes, in order. */
export class Channel {
  private readonly unread: unknown[] = [];
  private readers: { resolve(message: unknown): void; reject(error: Error): void }[] = [];
  private ended: Error | undefined;

  constructor(private readonly other: ChildProcess | NodeJS.Process) {
    const events = other as ChildProcess;
    events.on('message', (message) => {
      const reader = this.readers.shift();
      if (reader === undefined) this.unread.push(message);
      else reader.resolve(message);
    });
    events.once('disconnect', () => {
      this.ended = new Error('the other process has ended');
      for (const { reject } of this.readers) reject(this.ended);
      this.readers = [];
    });
  }

  send(message: unknown): void {
    (this.other as ChildProcess).send(message as object);
  }

  /** The next message. Rejects if the other process has ended. */
  next<T>(): Promise<T> {
    if (this.unread.length > 0) return Promise.resolve(this.unread.shift() as T);
    if (this.ended !== undefined) return Promise.reject(this.ended);
    return new Promise<unknown>((resolve, reject) => this.readers.push({ resolve, reject })) as Promise<T>;
  }

  async ask<T>(message: unknown): Promise<T> {
    this.send(message);
    return this.next<T>();
  }
}
