import type { Clock } from '../../clock.js';
import type { Unavailable } from '../../lock-store.js';
import { addressText, ask, ErrorReply, type Address, type Connector, type Reply } from '../connection.js';
import { RefusedError } from '../open-session.js';
import { refusedBy } from '../refusal.js';
import { parseClusterNodes, type ClusterView } from './cluster-view.js';
import type { Shard } from './shard.js';

/** ms that one server may take to answer. */
const ANSWER_TIME = 1_000;

/** Asks servers of a Cluster who serves what: another one each time, for one that is cut off tells old news. */
export class ClusterSurvey {
  private readonly asked = new Set<Shard>();
  private turn = 0;

  constructor(
    private readonly connector: Connector,
    private readonly clock: Clock,
  ) {}

  /**
   * Over the connection of one of the shards' masters, each in turn and none that has not answered yet; else of whoever answers first of all
   * `addresses`. Rejects where nobody does: `whyUnknown` says it in words.
   */
  async view(shards: readonly Shard[], addresses: readonly Address[]): Promise<ClusterView> {
    const ready = shards.filter((shard) => shard.master.isReady && !this.asked.has(shard));
    const shard = ready[this.turn++ % Math.max(1, ready.length)];
    if (shard !== undefined) {
      this.asked.add(shard);
      try {
        const { address, replies } = await shard.master.askNow([['cluster', 'nodes']]);
        return viewIn(replies[0], address);
      } catch (error) {
        if (error instanceof RefusedError || shard.master.isClosed) throw error;
      } finally {
        this.asked.delete(shard);
      }
    }
    return Promise.any(addresses.map((address) => this.viewOf(address)));
  }

  private async viewOf(address: Address): Promise<ClusterView> {
    const connection = await this.connector.connect(address, 'topology').catch((error: unknown) => {
      throw error instanceof ErrorReply ? new RefusedError(address, error) : new NodeError(address, error);
    });
    const stopClock = this.clock.after(ANSWER_TIME, () => connection.close());
    try {
      const [reply] = await ask(connection, [['cluster', 'nodes']]);
      return viewIn(reply, address);
    } catch (error) {
      throw error instanceof RefusedError || error instanceof NodeError
        ? error
        : new NodeError(address, error);
    } finally {
      stopClock();
      connection.close();
    }
  }
}

/** A server that could not say who serves what. */
class NodeError extends Error {
  constructor(address: Address, cause: unknown) {
    super(
      `${addressText(address)}: ${String((cause as { message?: unknown } | undefined)?.message ?? cause)}`,
    );
  }
}

function viewIn(reply: Reply | undefined, address: Address): ClusterView {
  if (reply instanceof ErrorReply && /cluster support disabled/i.test(reply.message))
    throw new NodeError(address, new Error('it is no Redis Cluster node: connect to it without `nodes`'));
  if (reply instanceof ErrorReply) throw new RefusedError(address, reply);
  const view = parseClusterNodes(reply, address);
  if (view === undefined) throw new NodeError(address, new Error('it does not answer CLUSTER NODES'));
  return view;
}

/** Why nobody told who serves what. */
export function whyUnknown(error: unknown): Unavailable {
  const errors = (error as { errors?: unknown[] } | undefined)?.errors ?? [error];
  const refused = errors.find((each) => each instanceof RefusedError);
  if (refused instanceof RefusedError) return refusedBy(refused.address, refused.reply);
  const each = errors.map((one) => (one as Error).message).join('; ');
  return {
    kind: 'unavailable',
    reason: `No node of the Redis Cluster tells who serves what (${each}).`,
    cause: error,
  };
}
