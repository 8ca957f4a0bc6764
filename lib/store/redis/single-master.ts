import type { Clock } from '../clock.js';
import type { Connector } from './connection.js';
import { deploymentOf, sentinelOptionsOf, translated } from './deployment.js';
import { IoredisConnector } from './ioredis-connector.js';
import { FixedLocator } from './locator.js';
import { Master, type MasterListener } from './master.js';
import { MembersBySight, NamedMembers } from './members.js';
import type { RedisStoreOptions } from './options.js';
import { Quarantine } from './quarantine.js';
import { Sentinels } from './sentinels.js';

export interface RunningDeployment {
  readonly master: Master;
  open(): void;
  close(): Promise<void>;
}

/** One master that holds all keys: at a fixed address, or wherever the Sentinels say. */
export function singleMaster(
  options: RedisStoreOptions,
  listener: MasterListener,
  clock: Clock,
  givenConnector?: Connector,
): RunningDeployment {
  const deployment = deploymentOf(options.connection);
  const quarantine = new Quarantine(options.quarantine, options.leaseTime);
  if (deployment.kind === 'cluster') throw new Error('Redis Cluster is not supported yet');
  const connector = givenConnector ?? new IoredisConnector(deployment.options);
  if (deployment.kind === 'plain') {
    const locator = new FixedLocator(deployment.address);
    const master = new Master(connector, locator, new MembersBySight(), quarantine, options, listener, clock);
    return {
      master,
      open: () => {
        if (options.replicas === 'all' && options.minReplicas > 0)
          listener.onReport('log', 'members-by-sight', BY_SIGHT);
        master.open();
      },
      close: () => master.close(),
    };
  }
  const members = new NamedMembers();
  const sentinels = new Sentinels(
    deployment.sentinels,
    deployment.name,
    givenConnector ?? new IoredisConnector(sentinelOptionsOf(deployment.options)),
    members,
    (address) => translated(address, deployment.options.natMap),
    clock,
    () => master.moved(),
  );
  const master = new Master(connector, sentinels, members, quarantine, options, listener, clock);
  return {
    master,
    open: () => {
      sentinels.open();
      master.open();
    },
    close: async () => {
      await master.close();
      sentinels.close();
    },
  };
}

const BY_SIGHT =
  "On a plain connection replicas: 'all' counts the replicas that this process has seen connected, so one that starts after a crash " +
  'may know fewer. Set replicas to their number (for example replicas: 2), or connect through Sentinel.';
