import { finished, Readable, Stream, type Writable } from 'node:stream';
import { type ExecutionContext, StreamableFile } from '@nestjs/common';
import { isSubscription, type HandlerKind } from './handler-context.js';

/** A result that goes on after its handler has returned: a file that is sent, the events of a GraphQL subscription. */
export interface StreamingResult {
  /** What the caller gets in place of the result. */
  readonly value: unknown;
  /** Runs this once the body was produced, has failed or was given up; at once if that has happened. */
  onEnd(run: () => void): void;
  /** Gives up a body that no caller will read. */
  cancel(): void;
}

/** Runs a step of a body's production as part of the locked work. */
export type Within = <T>(step: () => T) => T;

/** Which results go on, and where they end. */
export interface StreamingResults {
  isStreaming(value: unknown): boolean;
  /** Undefined for a result that is complete when it is returned. Watches a body from now on. */
  watch(value: unknown, within: Within): StreamingResult | undefined;
}

/** Outside of HTTP and subscriptions only a promise that an Observable emits goes on: its reader waits for it. */
export const PROMISES: StreamingResults = {
  isStreaming: () => false,
  watch: (value) =>
    isThenable(value) ? { value, onEnd: (run) => void value.then(run, run), cancel: () => {} } : undefined,
};

/** GraphQL servers iterate what a subscription returns, and end it when the subscriber leaves. */
const SUBSCRIPTIONS: StreamingResults = {
  isStreaming: isAsyncIterable,
  watch: (value, within) => (isAsyncIterable(value) ? iterableBody(value, within) : undefined),
};

export function streamingResultsOf(kind: HandlerKind, context: ExecutionContext): StreamingResults {
  if (kind === 'http') return responsesOf(context);
  return kind === 'graphql' && isSubscription(context) ? SUBSCRIPTIONS : PROMISES;
}

/** Nest sends files, and from version 12 on async iterables, ReadableStreams and Responses. */
function responsesOf(context: ExecutionContext): StreamingResults {
  return {
    isStreaming: (value) => value instanceof StreamableFile || isWebResponse(value) || isAsyncIterable(value),
    watch(value, within) {
      const body = sentBodyOf(value, within);
      if (body === undefined) return PROMISES.watch(value, within);
      whenSent(context, () => body.abandon());
      return body;
    },
  };
}

function sentBodyOf(value: unknown, within: Within): SentResult | undefined {
  if (value instanceof StreamableFile) return fileBody(value);
  if (isWebStream(value)) return webStreamBody(value, within);
  if (value instanceof Readable) return streamBody(value);
  if (isWebResponse(value)) return responseBody(value, within);
  return isAsyncIterable(value) ? iterableBody(value, within) : undefined;
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === 'function';
}

/** An async iterable that is a thenable, too, stands for what it resolves to (a query of Mongoose). */
export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  if (typeof value !== 'object' || value === null || isThenable(value)) return false;
  return typeof (value as Partial<AsyncIterable<unknown>>)[Symbol.asyncIterator] === 'function';
}

/** A body whose reader may leave it lying. */
interface SentResult extends StreamingResult {
  /** The response is over: no further part is going to be asked for. */
  abandon(): void;
}

/** An event that happens once, also for those who ask late. */
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

function fileBody(file: StreamableFile): SentResult | undefined {
  const stream: unknown = file.getStream();
  return stream instanceof Readable ? { ...streamBody(stream), value: file } : undefined;
}

function streamBody(stream: Readable): SentResult {
  const end = new End();
  // At once if the stream has ended; also for streams that never say `close`.
  finished(stream, { writable: false }, () => end.happen());
  return {
    value: stream,
    onEnd: (run) => end.on(run),
    cancel: () => void stream.on('error', () => {}).destroy(),
    // A stream that is being destroyed says itself when that is done.
    abandon: () => {
      if (!stream.destroyed) end.happen();
    },
  };
}

function iterableBody(iterable: AsyncIterable<unknown>, within: Within): SentResult {
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

function webStreamBody(stream: ReadableStream<unknown>, within: Within): SentResult | undefined {
  if (stream.locked) return undefined;
  let reader: ReadableStreamDefaultReader<unknown> | undefined;
  // Opened late: a stream that was replaced by another result stays unlocked, so that Nest can cancel it.
  const open = (): ReadableStreamDefaultReader<unknown> => (reader ??= stream.getReader());
  const body = iterableBody(
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

/** The Response stays what it is (status, headers, where it came from); its body is read through the watched stream. */
function responseBody(response: Response, within: Within): SentResult | undefined {
  const body = response.body === null ? undefined : webStreamBody(response.body, within);
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

/** Runs this when the response was sent or its client has left, after Nest has stopped what it was sending. */
function whenSent(context: ExecutionContext, run: () => void): void {
  const given = context.switchToHttp().getResponse<{ raw?: unknown }>();
  const response = given.raw ?? given;
  if (!(response instanceof Stream)) return;
  const { closed } = response as Writable;
  const later = (): void => void setImmediate(run);
  if (closed) later();
  else {
    // Frameworks listen for this event about as often as an emitter permits before it warns.
    const most = response.getMaxListeners();
    if (most > 0) response.setMaxListeners(most + 1);
    response.once('close', later);
  }
}
