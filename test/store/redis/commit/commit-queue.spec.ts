import { describe, expect, it } from '@jest/globals';
import { CommitQueue } from '../../../../lib/store/redis/commit/commit-queue.js';
import type { CommitRequest } from '../../../../lib/store/redis/commit/commit-request.js';

function requests(kind: CommitRequest['kind'], count: number, keys: number): CommitRequest[] {
  return Array.from(
    { length: count },
    () =>
      ({
        kind,
        stage: 'queued',
        keys: Array.from({ length: keys }, (_, i) => `k${i}`),
      }) as unknown as CommitRequest,
  );
}

describe('A group', () => {
  it.each([
    ['as many requests as it may have', 300, 1, 256],
    ['4,096 keys of several requests each', 300, 64, 64],
    ['16 locks of 256 keys', 64, 256, 16],
  ])('takes %s', (_, count, keys, taken) => {
    const queue = new CommitQueue();
    for (const request of requests('renew', count, keys)) queue.add(request);
    expect(queue.takeGroup(false)).toHaveLength(taken);
    expect(queue.size).toBe(count - taken);
  });

  it('has room for new locks beside renewals of many keys', () => {
    const queue = new CommitQueue();
    for (const request of [...requests('renew', 20, 256), ...requests('acquire', 2, 1)]) queue.add(request);
    expect(queue.takeGroup(true).filter(({ kind }) => kind === 'acquire')).toHaveLength(2);
  });
});
