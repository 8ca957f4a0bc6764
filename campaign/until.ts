import { setTimeout as sleep } from 'node:timers/promises';
import { now } from './events.js';

/** Checks until the condition holds. Rejects after `within` ms, and names the condition. */
export async function until(what: string, condition: () => Promise<boolean>, within = 30_000): Promise<void> {
  const deadline = now() + within;
  while (!(await condition())) {
    if (now() > deadline) throw new Error(`Waited ${within} ms in vain until ${what}`);
    await sleep(50);
  }
}
