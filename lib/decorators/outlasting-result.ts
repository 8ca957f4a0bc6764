import { finished } from 'node:stream';
import { StreamableFile } from '@nestjs/common';

/** A result that goes on after its handler has ended: a file that is being sent, the iterator of a GraphQL subscription. */
export interface OutlastingResult {
  /** What the caller gets in place of the result. */
  readonly value: unknown;
  /** Runs this once the result has ended; at once where it has. */
  onEnd(run: () => void): void;
}

/** Undefined for a result that is complete when it is there. */
export type AsOutlasting = (value: unknown) => OutlastingResult | undefined;

export const outlastingFile: AsOutlasting = (value) => {
  if (!(value instanceof StreamableFile)) return undefined;
  return {
    value,
    onEnd(run) {
      // At once where it has ended; also for streams that never say `close`.
      finished(value.getStream(), { writable: false }, run);
    },
  };
};

/** Of GraphQL: its servers iterate what a subscription returns, and end it when the subscriber leaves. */
export const outlastingIterator: AsOutlasting = (value) => {
  if (!isAsyncIterator(value)) return undefined;
  let onEnd: (() => void) | undefined;
  let hasEnded = false;
  const end = (): void => {
    hasEnded = true;
    onEnd?.();
  };
  const watched = async (step: () => Promise<IteratorResult<unknown>>, ends: boolean) => {
    try {
      const result = await step();
      if (ends || result.done === true) end();
      return result;
    } catch (error) {
      end();
      throw error;
    }
  };
  const over = Promise.resolve({ done: true, value: undefined } as const);
  const iterator: AsyncIterableIterator<unknown> = {
    next: () => watched(() => value.next(), false),
    return: () => watched(() => value.return?.() ?? over, true),
    throw: (error: unknown) => watched(() => value.throw?.(error) ?? over, true),
    [Symbol.asyncIterator]: () => iterator,
  };
  return {
    value: iterator,
    onEnd(run) {
      if (hasEnded) run();
      else onEnd = run;
    },
  };
};

function isAsyncIterator(value: unknown): value is AsyncIterableIterator<unknown> {
  const { next, [Symbol.asyncIterator]: iterate } = (value ?? {}) as Partial<AsyncIterableIterator<unknown>>;
  return typeof next === 'function' && typeof iterate === 'function';
}
