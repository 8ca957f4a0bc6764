import type { Address } from './connection.js';

/** One master of a Cluster as one node describes it. */
export interface ShardView {
  /** `ip:port` of the master. */
  readonly master: string;
  /** Its configuration epoch: of two masters that claim a slot the one with the greater is right. */
  readonly epoch: number;
  /** First and last slot of each range that it serves. */
  readonly slots: readonly (readonly [number, number])[];
  /** The master and all replicas of it, those that failed included. */
  readonly servers: ReadonlySet<string>;
}

export interface ClusterView {
  /** The masters that serve slots. */
  readonly shards: readonly ShardView[];
  /** Every node that the cluster knows, whatever it does. */
  readonly servers: ReadonlySet<string>;
}

/** Reads the reply to CLUSTER NODES that the node at `askedAt` gave; a node that nobody has met yet does not know its own address. */
export function parseClusterNodes(reply: string, askedAt: Address): ClusterView {
  const nodes = reply
    .split('\n')
    .map((line) => line.trim().split(' '))
    .filter((fields) => fields.length >= 8 && !/noaddr|handshake/.test(fields[2] ?? ''))
    .map(([id = '', endpoint = '', flags = '', masterId = '', , , epoch = '0', , ...slots]) => {
      const announced = endpoint.replace(/@.*$/, '');
      return {
        id,
        address: announced.startsWith(':') ? `${askedAt.host}${announced}` : announced,
        isMaster: flags.split(',').includes('master'),
        masterId,
        epoch: Number(epoch),
        slots: slots.filter((range) => !range.startsWith('[')).map(rangeOf),
      };
    });
  const shards = nodes
    .filter((node) => node.isMaster && node.slots.length > 0)
    .map(({ id, address, epoch, slots }) => ({
      master: address,
      epoch,
      slots,
      servers: new Set([
        address,
        ...nodes.filter((node) => node.masterId === id).map((node) => node.address),
      ]),
    }));
  return { shards, servers: new Set(nodes.map((node) => node.address)) };
}

function rangeOf(text: string): readonly [number, number] {
  const [first, last = first] = text.split('-').map(Number);
  return [first ?? 0, last ?? 0];
}
