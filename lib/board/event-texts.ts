import type { LockEvent } from '../lock/events.js';
import type { StoreReport } from '../store/lock-store.js';
import type { BoardEvent, BoardTone } from './board-model.js';
import { MOST_KEYS_LISTED } from './snapshot.js';

type Entry = Omit<BoardEvent, 'id'>;

const TONES: Record<StoreReport['level'], BoardTone> = { log: 'plain', warn: 'warn', error: 'bad' };

/** A report as a line of the log. */
export function entryOfReport({ level, code, message }: StoreReport, at: number): Entry {
  return { at, tone: TONES[level], what: code, keys: [], text: message };
}

/**
 * An event as a line of the log. Undefined for renewals, of which there are too many, and for events
 * that are also reports.
 */
export function entryOfEvent(event: LockEvent, at: number): Entry | undefined {
  const keys = event.keys.slice(0, MOST_KEYS_LISTED);
  const more = event.keys.length > keys.length ? `and ${event.keys.length - keys.length} more: ` : '';
  const entry = (tone: BoardTone, text: string): Entry => ({
    at,
    tone,
    what: event.type,
    keys,
    text: more + text,
  });
  switch (event.type) {
    case 'acquired':
      return entry(
        'good',
        `confirmed by ${replicas(event.confirmedBy)} in ${ms(event.confirmedIn)}, waited ${ms(event.waited)}`,
      );
    case 'contended':
      return entry('warn', `still held by ${event.holder ?? 'another owner'} after ${ms(event.waited)}`);
    case 'released':
      return event.answered ? entry('plain', `held for ${ms(event.held)}`) : undefined;
    case 'ran':
      return entry('good', `the result is kept for ${ms(event.keepFor)}`);
    case 'kept':
      return entry('plain', 'answered with the kept result of an earlier run');
    default:
      return undefined;
  }
}

function replicas(count: number): string {
  return count === 1 ? '1 replica' : `${count} replicas`;
}

/** Rounded for people. */
function ms(time: number): string {
  if (time < 10) return `${time.toFixed(1)} ms`;
  return time < 10_000 ? `${Math.round(time)} ms` : `${Math.round(time / 1000)} s`;
}
