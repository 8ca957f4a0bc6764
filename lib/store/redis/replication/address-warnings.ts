import type { Oddity } from './known-replicas.js';

/** A fault in the addresses that replicas announce. */
export interface AddressWarning {
  readonly code: 'shared-address' | 'announced-address' | 'unnamed-replica';
  readonly message: string;
}

/** Faults in the addresses of a master's replicas, each with the setting that helps. */
export function addressWarnings(
  where: string,
  inCluster: boolean,
  shared: readonly string[],
  oddity: Oddity | undefined,
): AddressWarning[] {
  const warnings: AddressWarning[] = [];
  for (const address of shared) {
    warnings.push({
      code: 'shared-address',
      message:
        `Several replicas of ${where} announce the same address, ${address}: they are counted by their connections, and nothing shows which of them confirms. ` +
        'Set replica-announce-ip and replica-announce-port of each replica to an address of its own.',
    });
  }
  const namers = inCluster ? 'the Redis Cluster' : 'Sentinel';
  const setting = inCluster
    ? 'Set replica-announce-ip and replica-announce-port of each server to its cluster-announce-ip and cluster-announce-port.'
    : 'Set replica-announce-ip and replica-announce-port of each server, former masters included, to the address that Sentinel should use.';
  const { aliases = new Map<string, string>(), strangers = [] } = oddity ?? {};
  if (aliases.size > 0) {
    const pairs = [...aliases].map(([address, name]) => `${address} (${name})`).join(', ');
    warnings.push({
      code: 'announced-address',
      message: `${where} and ${namers} call the same servers by different addresses: ${pairs}. Each is counted once. ${setting}`,
    });
  }
  if (strangers.length > 0) {
    warnings.push({
      code: 'unnamed-replica',
      message:
        `${where} lists ${strangers.join(', ')} among its replicas, which ${namers} does not name. A server that ${namers} calls by another address ` +
        `counts twice then, and locks are refused although enough replicas answer. ${setting}`,
    });
  }
  return warnings;
}
