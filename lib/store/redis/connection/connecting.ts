import type { Clock } from '../../../common/clock.js';
import type { Connection, Connector } from './connection.js';
import { ErrorReply, type Address } from '../resp.js';
import { RefusedError } from './error-replies.js';

/** Makes one of the connections that a set-up needs. CLIENT LIST shows the label. */
export type Connect = (label: string) => Promise<Connection>;

/** The server accepted a connection, perhaps, but did not answer in time. */
export class SilentError extends Error {
  constructor(ms: number) {
    super(`it did not answer within ${ms} ms`);
  }
}

/**
 * Connects to one server and sets the connections up, all within the connector's time limit: TCP, TLS, authentication and every question of
 * `setUp`. The kernel of a server that hangs still accepts connections, so a limit on each step alone would not do. If `setUp` fails, the time is
 * up, or `signal` aborts, this rejects at once and every connection is destroyed, including those in the making.
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
  // If `signal` has aborted already, nobody waits for it.
  over.catch(() => {});
  const onAbort = (): void => end.abort(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const { connectTimeout } = connector;
  const stopClock = afterFreeTime(clock, connectTimeout, () => end.abort(new SilentError(connectTimeout)));
  try {
    signal.throwIfAborted();
    return await Promise.race([setUp(connect), over]);
  } catch (error) {
    end.abort(error);
    for (const connection of made) connection.close();
    throw error;
  } finally {
    stopClock();
    signal.removeEventListener('abort', onAbort);
  }
}

/** ms that one turn of the event loop counts at the most. */
const LONGEST_TURN = 100;

/**
 * Calls `run` once the event loop has had `ms` to hear an answer; returns how to stop that. A turn that takes long counts as `LONGEST_TURN`: the
 * answers that came meanwhile are in the socket, unread. So a process that is busy, as most are while they start, gives up no healthy server.
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
