import type { Clock } from '../../../common/clock.js';
import type { Connection, Connector } from './connection.js';
import { ErrorReply, type Address } from '../resp.js';
import { RefusedError } from './error-replies.js';

/** Makes one of the connections that `setUp` needs. CLIENT LIST shows the label. */
export type Connect = (label: string) => Promise<Connection>;

/** The server did not answer in time, but may have accepted a connection. */
export class SilentError extends Error {
  constructor(ms: number) {
    super(`it did not answer within ${ms} ms`);
  }
}

/**
 * Connects to one server and sets the connections up. The connector's time limit covers TCP, TLS,
 * authentication and every question of `setUp`. A limit on connecting alone is not enough,
 * because the kernel of a server that hangs still accepts connections.
 *
 * Rejects at once if `setUp` fails, the time is up, or `signal` aborts. Every connection is
 * destroyed then, including connections that are still being made.
 */
export async function connecting<T>(
  connector: Connector,
  address: Address,
  clock: Clock,
  signal: AbortSignal,
  setUp: (connect: Connect) => Promise<T>,
): Promise<T> {
  const end = new AbortController();
  const made: Connection[] = [];
  const connect: Connect = async (label) => {
    const connection = await connector.connect(address, label, end.signal).catch((error: unknown) => {
      throw error instanceof ErrorReply ? new RefusedError(address, error) : error;
    });
    made.push(connection);
    if (!end.signal.aborted) return connection;
    connection.close();
    throw end.signal.reason;
  };
  const over = new Promise<never>((_, reject) => {
    end.signal.addEventListener('abort', () => reject(end.signal.reason as Error), { once: true });
  });
  // If `signal` has already aborted, nothing awaits this promise.
  over.catch(() => {});
  const onAbort = (): void => end.abort(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const { connectTimeout } = connector;
  const stopTimer = afterFreeTime(clock, connectTimeout, () => end.abort(new SilentError(connectTimeout)));
  try {
    signal.throwIfAborted();
    return await Promise.race([setUp(connect), over]);
  } catch (error) {
    end.abort(error);
    for (const connection of made) connection.close();
    throw error;
  } finally {
    stopTimer();
    signal.removeEventListener('abort', onAbort);
  }
}

/** The longest time in ms that one turn of the event loop counts. */
const LONGEST_TURN = 100;

/**
 * Calls `run` after the event loop has had `ms` milliseconds to read an answer; returns a
 * function that stops this. A longer turn of the event loop counts as 100 ms only, because
 * answers that came meanwhile lie unread in the socket. So a busy process, as most are while
 * starting, gives up no healthy server.
 */
export function afterFreeTime(clock: Clock, ms: number, run: () => void): () => void {
  let left = ms;
  let cancel: () => void = () => {};
  const tick = (): void => {
    if (left <= 0) {
      run();
      return;
    }
    const step = Math.min(left, LONGEST_TURN);
    left -= step;
    cancel = clock.after(step, tick);
  };
  tick();
  return () => cancel();
}
