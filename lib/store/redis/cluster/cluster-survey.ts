import type { Clock } from '../../../common/clock.js';
import type { Unavailable } from '../../lock-store.js';
import { connecting, SilentError } from '../connection/connecting.js';
import { ask, type Connector } from '../connection/connection.js';
import { ErrorReply, addressText, type Address, type Reply } from '../resp.js';
import {
  isUnknownHost,
  messageOf,
  RefusedError,
  refusedBy,
  UnsuitableError,
} from '../connection/error-replies.js';
import { parseClusterNodes, parsePreferredNames, type ClusterView } from './cluster-nodes.js';
import type { Shard } from './shard.js';

/** ms that the survey waits for the remaining servers after the first one has failed. */
const REST_TIME = 250;
/**
 * ms before a server that did not answer in time is asked again: doubled each time. The other
 * servers are asked meanwhile.
 */
const FIRST_ASK_PAUSE = 50;
const LONGEST_ASK_PAUSE = 250;

interface Question {
  readonly attempt: AbortController;
  readonly answer: Promise<ClusterView>;
}

/** A server that accepts connections and answers nothing. */
interface Hung {
  /** How many questions in a row the server left unanswered. */
  readonly times: number;
  readonly pausedUntil: number;
  readonly error: unknown;
}

/**
 * Asks servers of a Cluster which master serves which slot. Each question goes to another server,
 * because a server that is cut off answers with an old view.
 */
export class ClusterSurvey {
  /** Shards whose master has a question without an answer. */
  private readonly owingAnswer = new Set<Shard>();
  /** By address: questions that are under way over connections of their own. */
  private readonly questions = new Map<string, Question>();
  private readonly hung = new Map<string, Hung>();
  private isClosed = false;
  /** How often a master was asked: the masters are asked in turn. */
  private asks = 0;

  constructor(
    private readonly connector: Connector,
    private readonly clock: Clock,
  ) {}

  /**
   * Asks over the connection of a shard's master: each master in turn, but none that still owes an
   * answer. If none can answer, asks all `addresses` and takes the first answer. Rejects if no
   * server answers: `whyUnknown` puts the error into words.
   */
  async view(shards: readonly Shard[], addresses: readonly Address[]): Promise<ClusterView> {
    const ready = shards.filter((shard) => shard.master.isReady && !this.owingAnswer.has(shard));
    const shard = ready[this.asks++ % Math.max(1, ready.length)];
    if (shard !== undefined) {
      this.owingAnswer.add(shard);
      try {
        const { address, replies } = await shard.master.askNow([['cluster', 'nodes']]);
        const askSlots = async (): Promise<Reply | undefined> =>
          (await shard.master.askNow([['cluster', 'slots']])).replies[0];
        return await withPreference(viewIn(replies[0], address), askSlots);
      } catch (error) {
        if (error instanceof RefusedError || shard.master.isClosed) throw error;
      } finally {
        this.owingAnswer.delete(shard);
      }
    }
    return this.first(addresses);
  }

  close(): void {
    this.isClosed = true;
    for (const { attempt } of this.questions.values()) attempt.abort(CLOSED);
  }

  /**
   * The first answer of any address. A server that hangs does not delay the answers of the others,
   * nor the next question to them.
   */
  private first(addresses: readonly Address[]): Promise<ClusterView> {
    return new Promise((resolve, reject) => {
      const errors = new Map<Address, unknown>();
      let stopTimer: (() => void) | undefined;
      let isOver = false;
      const end = (): void => {
        isOver = true;
        stopTimer?.();
      };
      const giveUp = (): void => {
        end();
        const silence = new Error('no answer yet');
        reject(new AggregateError(addresses.map((each) => errors.get(each) ?? new NodeError(each, silence))));
      };
      const onError = (address: Address, error: unknown): void => {
        errors.set(address, error);
        if (isOver) return;
        if (errors.size === addresses.length) giveUp();
        else stopTimer ??= this.clock.after(REST_TIME, giveUp);
      };
      for (const address of addresses) {
        this.question(address).then(
          (view) => {
            end();
            resolve(view);
          },
          (error: unknown) => onError(address, error),
        );
      }
    });
  }

  /**
   * Asks one server. While a question to a server is under way, further callers share the answer.
   */
  private async question(address: Address): Promise<ClusterView> {
    const name = addressText(address);
    const hung = this.hung.get(name);
    if (hung !== undefined && this.clock.monotonic() < hung.pausedUntil) throw hung.error;
    const before = this.questions.get(name);
    if (before !== undefined) return before.answer;
    if (this.isClosed) throw CLOSED;
    const attempt = new AbortController();
    const answer = this.ask(address, attempt.signal);
    this.questions.set(name, { attempt, answer });
    try {
      const view = await answer;
      this.hung.delete(name);
      return view;
    } catch (error) {
      if (error instanceof NodeError && error.cause instanceof SilentError) this.pause(name, error);
      else this.hung.delete(name);
      throw error;
    } finally {
      this.questions.delete(name);
    }
  }

  private pause(name: string, error: unknown): void {
    const times = (this.hung.get(name)?.times ?? 0) + 1;
    const pause = Math.min(LONGEST_ASK_PAUSE, FIRST_ASK_PAUSE * 2 ** (times - 1));
    this.hung.set(name, { times, pausedUntil: this.clock.monotonic() + pause, error });
  }

  private async ask(address: Address, signal: AbortSignal): Promise<ClusterView> {
    try {
      return await connecting(this.connector, address, this.clock, signal, async (connect) => {
        const connection = await connect('topology');
        const [reply] = await ask(connection, [['cluster', 'nodes']]);
        const askSlots = async (): Promise<Reply | undefined> =>
          (await ask(connection, [['cluster', 'slots']]))[0];
        const view = await withPreference(viewIn(reply, address), askSlots);
        connection.close();
        return view;
      });
    } catch (error) {
      throw error instanceof RefusedError || error instanceof NodeError
        ? error
        : new NodeError(address, error);
    }
  }
}

const CLOSED = new Error('closed');

/** A server that could not say which master serves which slot. */
class NodeError extends Error {
  constructor(
    address: Address,
    override readonly cause: unknown,
  ) {
    super(`${addressText(address)}: ${messageOf(cause)}`);
  }
}

function viewIn(reply: Reply | undefined, address: Address): ClusterView {
  if (reply instanceof ErrorReply && /cluster support disabled/i.test(reply.message))
    throw new NodeError(address, new UnsuitableError(NO_CLUSTER));
  if (reply instanceof ErrorReply) throw new RefusedError(address, reply);
  const view = parseClusterNodes(reply, address);
  if (view === undefined) throw new NodeError(address, new Error('the server does not answer CLUSTER NODES'));
  return view;
}

/** Asks for the preferred names only if a server announces a host name: most announce none. */
async function withPreference(
  view: ClusterView,
  askSlots: () => Promise<Reply | undefined>,
): Promise<ClusterView> {
  const hostnames = view.nodes.flatMap(({ hostname }) => hostname ?? []);
  if (hostnames.length === 0) return view;
  const preferred = parsePreferredNames(await askSlots());
  return { ...view, prefersHostnames: hostnames.some((hostname) => preferred.has(hostname)) };
}

const NO_CLUSTER = 'the server is not a Redis Cluster node: connect to it without `nodes`';

/**
 * Why no server said which master serves which slot. `wasKnown`: a server has said that before, so
 * a host name that is unknown now may be known again soon.
 */
export function whyUnknown(error: unknown, wasKnown = false): Unavailable {
  const errors = (error as { errors?: unknown[] } | undefined)?.errors ?? [error];
  const refused = errors.find((each) => each instanceof RefusedError);
  if (refused instanceof RefusedError) return refusedBy(refused.address, refused.reply);
  const each = errors.map(messageOf).join('; ');
  const isHopeless = (cause: unknown): boolean =>
    cause instanceof UnsuitableError || (!wasKnown && isUnknownHost(cause));
  const areUnknown = errors.every((one) => one instanceof NodeError && isUnknownHost(one.cause));
  const isPermanent = errors.every((one) => one instanceof NodeError && isHopeless(one.cause));
  return {
    kind: 'unavailable',
    reason: `No node of the Redis Cluster says which master serves which slot (${each}).${areUnknown ? ' Check the hosts in the option connection.' : ''}`,
    cause: error,
    ...(isPermanent && { permanent: true }),
  };
}
