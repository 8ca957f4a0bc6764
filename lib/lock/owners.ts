import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';

/**
 * Names each attempt: `rl:<host>:<pid>:<random>:<number>`. The value of a key shows an operator
 * which process holds the lock.
 */
export class Owners {
  private readonly prefix: string;
  private count = 0;

  constructor() {
    const host = hostname()
      .replace(/[^\w.-]/g, '-')
      .slice(0, 64);
    this.prefix = `rl:${host}:${process.pid}:${randomBytes(6).toString('base64url')}:`;
  }

  next(): string {
    return this.prefix + (++this.count).toString(36);
  }
}
