import { afterAll, afterEach, beforeAll } from '@jest/globals';
import type { LockStore } from '../../../../lib/store/lock-store.js';
import { Link } from '../../../support/link.js';
import { startReplication, type Replication } from '../../../support/replication.js';
import { take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

/** A store whose connections the test can cut, and another store on the same server. */
export interface LinkedStores {
  readonly redis: Replication;
  readonly link: Link;
  /** Connected through `link`. */
  readonly store: LockStore;
  readonly direct: LockStore;
}

/** Starts a master with two replicas for the file. The result opens the stores for one test. */
export function linkedStores(stores = new RedisStores()): () => Promise<LinkedStores> {
  let redis: Replication;
  let link: Link | undefined;

  beforeAll(async () => {
    redis = await startReplication({ replicas: 2 });
  });
  afterEach(async () => {
    await stores.closeAll();
    await link?.dispose();
  });
  afterAll(() => redis.dispose());

  return async () => {
    link = await Link.to(redis.master);
    const store = stores.open(link.url);
    const direct = stores.open(redis.url);
    await take(store, `warm-${Math.random()}`);
    return { redis, link, store, direct };
  };
}
