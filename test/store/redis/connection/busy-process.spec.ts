import { beforeEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '../../../../lib/common/clock.js';
import { granted, requestFor, take } from '../../requests.js';
import { linkedStores, type LinkedStores } from './linked-stores.js';

const openStores = linkedStores();
let link: LinkedStores['link'];
let store: LinkedStores['store'];
let direct: LinkedStores['direct'];

beforeEach(async () => {
  ({ link, store, direct } = await openStores());
});

/** Blocks the event loop. */
function beBusy(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe('A process that was busy for longer than a server may be silent', () => {
  let lost: string[];
  beforeEach(() => {
    lost = [];
    store.reports.subscribe(({ code, message }) => {
      if (code === 'connection-lost') lost.push(message);
    });
  });

  it('keeps its connections if it was busy right after asking', async () => {
    const attempt = store.acquire(requestFor('busy-after-asking')).outcome;
    // The group is sent at the end of this turn.
    await new Promise((resolve) => setImmediate(resolve));
    beBusy(1_300);
    granted(await attempt);
    expect(lost).toEqual([]);
  });

  it('grants a lock whose time passed meanwhile, and trusts the answer to a release', async () => {
    const impatient = { waitUntil: systemClock.monotonic(), replicaTimeout: 500 };
    const request = requestFor('busy-and-impatient', impatient);
    const attempt = direct.acquire(request).outcome;
    await new Promise((resolve) => setImmediate(resolve));
    beBusy(1_300);
    const { token, validity } = granted(await attempt);
    const released = direct.release({ ...request, token, validity }, 0);
    await new Promise((resolve) => setImmediate(resolve));
    // Longer than a release may take.
    beBusy(2_300);
    expect(await released).toEqual({ kind: 'released', ours: true });
  });

  it('keeps its connections if PINGs were due meanwhile, several times in a row', async () => {
    for (let i = 0; i < 3; i++) {
      await link.afterRequest('ping');
      beBusy(1_300);
    }
    await take(store, 'busy-while-pinged');
    expect(lost).toEqual([]);
  });
});
