import { finished, Readable, Stream, type Writable } from 'node:stream';
import { type ExecutionContext, StreamableFile } from '@nestjs/common';
import { isSubscription, type HandlerKind } from './handler-context.js';

/**
 * A result that is produced after the handler has returned it: a file that is sent, the events of a
 * GraphQL subscription.
 */
export interface StreamingResult {
  /** The watched result, which the caller gets in place of the handler's own. */
  readonly value: unknown;
  /**
   * Calls `run` once the result was produced completely, has failed or was given up; at once if
   * that has happened already.
   */
  onEnd(run: () => void): void;
  /** Gives up a result that no caller will read. */
  cancel(): void;
}

/** Runs one step of a result's production as part of the locked work. */
export type Within = <T>(step: () => T) => T;

/** Tells which results of a kind of handler are streaming, and watches for their end. */
export interface StreamingResults {
  isStreaming(value: unknown): boolean;
  /** Watches the result from now on. Undefined if the result was complete when it was returned. */
  watch(value: unknown, within: Within): StreamingResult | undefined;
}

/**
 * Outside HTTP and subscriptions only one result is produced later: a promise that an Observable
 * emits, because the reader awaits the promise.
 */
export const PROMISES: StreamingResults = {
  isStreaming: () => false,
  watch: (value) =>
    isThenable(value) ? { value, onEnd: (run) => void value.then(run, run), cancel: () => {} } : undefined,
};

/** GraphQL servers iterate the result of a subscription, and end it when the subscriber leaves. */
const SUBSCRIPTIONS: StreamingResults = {
  isStreaming: isAsyncIterable,
  watch: (value, within) => (isAsyncIterable(value) ? streamingIterable(value, within) : undefined),
};

export function streamingResultsOf(kind: HandlerKind, context: ExecutionContext): StreamingResults {
  if (kind === 'http') return responsesOf(context);
  return kind === 'graphql' && isSubscription(context) ? SUBSCRIPTIONS : PROMISES;
}

/**
 * Nest sends a StreamableFile, and from version 12 on an async iterable, ReadableStream or
 * Response.
 */
function responsesOf(context: ExecutionContext): StreamingResults {
  return {
    isStreaming: (value) => value instanceof StreamableFile || isWebResponse(value) || isAsyncIterable(value),
    watch(value, within) {
      const result = sentResultOf(value, within);
      if (result === undefined) return PROMISES.watch(value, within);
      whenSent(context, () => result.abandon());
      return result;
    },
  };
}

function sentResultOf(value: unknown, within: Within): SentResult | undefined {
  if (value instanceof StreamableFile) return streamingFile(value);
  if (isWebStream(value)) return streamingWebStream(value, within);
  if (value instanceof Readable) return streamingReadable(value);
  if (isWebResponse(value)) return streamingResponse(value, within);
  return isAsyncIterable(value) ? streamingIterable(value, within) : undefined;
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === 'function';
}

/** A thenable is not counted as an iterable, but as what it resolves to (a query of Mongoose). */
export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  if (typeof value !== 'object' || value === null || isThenable(value)) return false;
  return typeof (value as Partial<AsyncIterable<unknown>>)[Symbol.asyncIterator] === 'function';
}

/** A result that is sent as a response, whose reader may stop reading without a word. */
interface SentResult extends StreamingResult {
  /** Called when the response is over: no further part will be read. */
  abandon(): void;
}

/** An event that happens once. A listener that is added later is called at once. */
class End {
  private hasHappened = false;
  private run: (() => void) | undefined;

  happen(): void {
    if (this.hasHappened) return;
    this.hasHappened = true;
    this.run?.();
  }

  on(run: () => void): void {
    if (this.hasHappened) run();
    else this.run = run;
  }
}

function streamingFile(file: StreamableFile): SentResult | undefined {
  const stream: unknown = file.getStream();
  return stream instanceof Readable ? { ...streamingReadable(stream), value: file } : undefined;
}

function streamingReadable(stream: Readable): SentResult {
  const end = new End();
  // `finished` also notices a stream that has ended already, or that never emits `close`.
  finished(stream, { writable: false }, () => end.happen());
  return {
    value: stream,
    onEnd: (run) => end.on(run),
    cancel: () => void stream.on('error', () => {}).destroy(),
    // A stream that is being destroyed reports its end through `finished`.
    abandon: () => {
      if (!stream.destroyed) end.happen();
    },
  };
}

function streamingIterable(iterable: AsyncIterable<unknown>, within: Within): SentResult {
  const end = new End();
  let steps = 0;
  let source: AsyncIterator<unknown> | undefined;
  const open = (): AsyncIterator<unknown> => (source ??= iterable[Symbol.asyncIterator]());
  const step = async (
    take: (from: AsyncIterator<unknown>) => Promise<IteratorResult<unknown>> | undefined,
    isLast: boolean,
  ): Promise<IteratorResult<unknown>> => {
    steps++;
    let isOver = isLast;
    try {
      const result = (await within(() => take(open()))) ?? { done: true, value: undefined };
      isOver ||= result.done === true;
      return result;
    } catch (error) {
      isOver = true;
      throw error;
    } finally {
      steps--;
      if (isOver || isAbandoned) end.happen();
    }
  };
  let isAbandoned = false;
  const iterator: AsyncIterableIterator<unknown> = {
    next: () => step((from) => from.next(), false),
    return: (value?: unknown) => step((from) => from.return?.(value), true),
    throw: (error: unknown) => step((from) => from.throw?.(error), true),
    [Symbol.asyncIterator]: () => iterator,
  };
  return {
    value: iterator,
    onEnd: (run) => end.on(run),
    cancel: () => void iterator.return!().catch(() => {}),
    abandon: () => {
      isAbandoned = true;
      if (steps === 0) end.happen();
    },
  };
}

function streamingWebStream(stream: ReadableStream<unknown>, within: Within): SentResult | undefined {
  if (stream.locked) return undefined;
  let reader: ReadableStreamDefaultReader<unknown> | undefined;
  // Opened as late as possible: Nest can cancel only an unlocked stream, as it does if another
  // result replaced this one.
  const open = (): ReadableStreamDefaultReader<unknown> => (reader ??= stream.getReader());
  const body = streamingIterable(
    {
      [Symbol.asyncIterator]: () => ({
        next: async () => (await open().read()) as IteratorResult<unknown>,
        return: async (reason: unknown) => {
          await open().cancel(reason);
          return { done: true, value: undefined };
        },
      }),
    },
    within,
  );
  const parts = body.value as AsyncIterator<unknown>;
  return {
    ...body,
    value: new ReadableStream<unknown>(
      {
        async pull(controller) {
          const { done, value } = await parts.next();
          if (done === true) controller.close();
          else controller.enqueue(value);
        },
        async cancel(reason) {
          await parts.return!(reason);
        },
      },
      { highWaterMark: 0 },
    ),
  };
}

/**
 * The Response itself stays in use, with its status, headers and origin. Only its `body` is
 * replaced by the watched stream.
 */
function streamingResponse(response: Response, within: Within): SentResult | undefined {
  const body = response.body === null ? undefined : streamingWebStream(response.body, within);
  if (body === undefined) return undefined;
  Object.defineProperty(response, 'body', { configurable: true, value: body.value });
  return { ...body, value: response };
}

function isWebStream(value: unknown): value is ReadableStream<unknown> {
  return typeof (value as Partial<ReadableStream> | null | undefined)?.getReader === 'function';
}

function isWebResponse(value: unknown): value is Response {
  return Object.prototype.toString.call(value) === '[object Response]';
}

/**
 * Calls `run` when the response was sent or the client has left, one turn of the event loop later:
 * Nest has stopped the sending by then.
 */
function whenSent(context: ExecutionContext, run: () => void): void {
  const given = context.switchToHttp().getResponse<{ raw?: unknown }>();
  const response = given.raw ?? given;
  if (!(response instanceof Stream)) return;
  const { closed } = response as Writable;
  const later = (): void => void setImmediate(run);
  if (closed) later();
  else {
    // The listeners of the frameworks alone come close to the number at which an emitter warns.
    const most = response.getMaxListeners();
    if (most > 0) response.setMaxListeners(most + 1);
    response.once('close', later);
  }
}
