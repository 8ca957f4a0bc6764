import type { Misconfigured } from '../../lock-store.js';
import type { Opened } from '../connection/session.js';
import { addressText, type Address } from '../resp.js';

/**
 * Says why the server may evict locks. Undefined if it may not, or if the user allows eviction.
 * An evicted lock is free for the next caller while the holder still works.
 * @see https://redis.io/docs/latest/develop/reference/eviction/
 */
export function evictionRisk(
  { address, opened }: { readonly address: Address; readonly opened: Pick<Opened, 'evictionPolicy'> },
  allowEviction: boolean,
): Misconfigured | undefined {
  const policy = opened.evictionPolicy;
  if (policy === undefined || allowEviction) return undefined;
  return {
    kind: 'misconfigured',
    option: 'allowEviction',
    value: false,
    reason:
      `Redis at ${addressText(address)} has maxmemory-policy ${policy}, so it may evict a lock that is held. ` +
      'Set maxmemory-policy to noeviction, keep locks on a server of their own, or set allowEviction: true.',
  };
}
