import { describe, expect, it } from '@jest/globals';
import { parseClusterNodes, type ClusterView } from '../../../../lib/store/redis/cluster/cluster-nodes.js';
import { hashSlot } from '../../../../lib/store/redis/cluster/hash-slot.js';
import { partsOf } from '../../../../lib/store/redis/cluster/keys-by-slot.js';
import { SlotTable } from '../../../../lib/store/redis/cluster/slot-table.js';
import { doubtTimeOf, SlotTrust } from '../../../../lib/store/redis/cluster/slot-trust.js';
import { ErrorReply } from '../../../../lib/store/redis/resp.js';
import { redirectionOf } from '../../../../lib/store/redis/connection/redirection.js';

describe('The slot of a key', () => {
  // The answers of CLUSTER KEYSLOT on a real server.
  it.each([
    ['123456789', 12_739],
    ['lock:k', 14_041],
    ['{user1000}.following', 3_443],
    ['{user1000}.followers', 3_443],
    ['foo{}{bar}', 8_363],
    ['foo{{bar}}zap', 4_015],
    ['foo{bar}{zap}', 5_061],
    ['schlüssel', 7_677],
    ['', 0],
  ])('of %p is %i', (key, slot) => {
    expect(hashSlot(key)).toBe(slot);
  });
});

describe('Keys of several slots', () => {
  it('are divided by slot, in the order of the slots, whatever order they come in', () => {
    const one = partsOf(['a', 'b', '{a}1', 'c'], 'lock:');
    const other = partsOf(['c', '{a}1', 'a', 'b'], 'lock:');
    expect(one.map(({ slot }) => slot)).toEqual(other.map(({ slot }) => slot));
    expect(one.map(({ slot }) => slot)).toEqual(one.map(({ slot }) => slot).toSorted((a, b) => a - b));
    expect(one.flatMap(({ names }) => names).toSorted()).toEqual(['a', 'b', 'c', '{a}1']);
    for (const { names, keys } of one) expect(keys).toEqual(names.map((name) => `lock:${name}`));
  });

  it('are together if they share a hash tag', () => {
    expect(partsOf(['{order:1}paid', '{order:1}sent'], 'lock:')).toHaveLength(1);
  });
});

describe('CLUSTER NODES', () => {
  const asked = { host: '10.0.0.1', port: 6379 };
  const text = [
    'aaa 10.0.0.1:6379@16379 myself,master - 0 1426238316232 2 connected 0-5460 9000 [5461->-bbb]',
    'bbb 10.0.0.2:6379@16379,redis-2.example master - 0 1426238316232 3 connected 5461-10922',
    'ccc 10.0.0.3:6379@16379,,tls-port=0,shard-id=xyz slave aaa 0 1426238317741 2 connected',
    'ddd 10.0.0.4:6379@16379 master,fail - 1426238310000 1426238310000 1 disconnected',
    'eee [::1]:0@0 master,noaddr - 0 0 0 disconnected',
    'fff 10.0.0.6:6379@16379 handshake - 0 0 0 connected',
    '',
  ].join('\n');

  it('is parsed', () => {
    expect(parseClusterNodes(text, asked)).toEqual({
      author: 'aaa',
      nodes: [
        expect.objectContaining({ id: 'aaa', identity: '10.0.0.1:6379', isMaster: true, epoch: 2 }),
        expect.objectContaining({ id: 'bbb', hostname: 'redis-2.example', slots: [[5461, 10922]] }),
        expect.objectContaining({ id: 'ccc', hostname: undefined, isMaster: false, masterId: 'aaa' }),
        expect.objectContaining({ id: 'ddd', isMaster: true, isFailed: true, slots: [] }),
        expect.objectContaining({ id: 'eee', isFailed: true }),
      ],
    });
  });

  it('is parsed without slots that are being moved', () => {
    expect(parseClusterNodes(text, asked)?.nodes[0]?.slots).toEqual([
      [0, 5460],
      [9000, 9000],
    ]);
  });

  it('of a server that does not know its own address names the address at which it was asked', () => {
    expect(
      parseClusterNodes('aaa :6380@16380 myself,master - 0 0 1 connected', asked)?.nodes[0],
    ).toMatchObject({
      identity: '10.0.0.1:6380',
    });
  });

  it.each([[undefined], [null], [''], [new ErrorReply('ERR This instance has cluster support disabled')]])(
    'is missing in %p',
    (reply) => {
      expect(parseClusterNodes(reply, asked)).toBeUndefined();
    },
  );
});

describe('A redirection', () => {
  it.each([
    ['MOVED 3999 127.0.0.1:6381', { kind: 'moved', slot: 3999, to: '127.0.0.1:6381' }],
    ['ASK 3999 127.0.0.1:6381', { kind: 'ask', slot: 3999, to: '127.0.0.1:6381' }],
    ['TRYAGAIN Multiple keys request during rehashing of slot', { kind: 'split' }],
    ['CLUSTERDOWN The cluster is down', undefined],
    ['ERR MOVED 1 2', undefined],
  ])('%s', (message, redirection) => {
    expect(redirectionOf(new ErrorReply(message))).toEqual(redirection);
  });
});

/** A view of two masters `a` and `b` by `author`, each with its epoch and its slots. */
function view(author: string, a: [number, number[]], b: [number, number[]]): ClusterView {
  const node = (id: string, [epoch, slots]: [number, number[]]): ClusterView['nodes'][number] => ({
    id,
    identity: `${id}:1`,
    hostname: undefined,
    isMyself: id === author,
    isMaster: true,
    isFailed: false,
    isReached: true,
    isSuspected: false,
    heardAt: 1,
    masterId: undefined,
    epoch,
    slots: slots.map((slot) => [slot, slot] as const),
  });
  return { author, nodes: [node('a', a), node('b', b)] };
}

describe('The owner of a slot', () => {
  it('is the master with the greater epoch, whichever servers say so and in any order', () => {
    const old = view('a', [1, [7]], [2, []]);
    const young = view('b', [1, []], [3, [7]]);
    for (const views of [
      [old, young],
      [young, old],
    ]) {
      const table = new SlotTable(() => false);
      for (const [at, each] of views.entries()) table.takeIn(each, at);
      expect(table.ownerOf(7)).toBe('b');
    }
  });

  it('is unknown once its master says that the slot is not its own', () => {
    const table = new SlotTable(() => false);
    table.takeIn(view('a', [5, [7]], [2, []]), 0);
    expect(table.takeIn(view('a', [5, []], [2, []]), 1)).toEqual(new Set([7]));
    expect(table.ownerOf(7)).toBeUndefined();
  });

  it('is the master that the former owner names, whatever the epochs', () => {
    const table = new SlotTable(() => false);
    table.takeIn(view('a', [5, [7]], [2, []]), 0);
    table.takeIn(view('a', [5, []], [2, [7]]), 1);
    expect(table.ownerOf(7)).toBe('b');
  });

  it('has it since the slot came, or since a server could be asked again', () => {
    const table = new SlotTable(() => false);
    table.takeIn(view('a', [1, [7]], [2, []]), 1_000);
    table.takeIn(view('a', [1, [7]], [2, []]), 3_000);
    expect(table.since(7)).toBe(1_000);
    table.takeIn(view('b', [1, []], [3, [7]]), 4_000);
    expect(table.since(7)).toBe(4_000);
    table.takeIn(view('b', [1, []], [3, [7]]), 60_000);
    expect(table.since(7)).toBe(60_000);
  });

  it('has it since the slot came to its shard, whichever server is the master', () => {
    const table = new SlotTable((before, after) => before === 'a' && after === 'b');
    table.takeIn(view('a', [1, [7, 8]], [2, []]), 1_000);
    table.takeIn(view('b', [1, []], [3, [7, 8]]), 3_000);
    expect([table.since(7), table.since(8)]).toEqual([1_000, 1_000]);
    table.takeIn(view('a', [4, [7, 8]], [3, []]), 5_000);
    expect(table.since(7)).toBe(5_000);
  });

  it('has it since the slot came, if the former master still has slots: that was no fail-over', () => {
    const table = new SlotTable((before, after) => before === 'a' && after === 'b');
    table.takeIn(view('a', [1, [7, 8]], [2, []]), 1_000);
    table.takeIn(view('b', [1, [8]], [3, [7]]), 3_000);
    expect([table.since(7), table.since(8)]).toEqual([3_000, 1_000]);
    table.noteMoved(8, 'b', 4_000);
    expect(table.since(8)).toBe(4_000);
  });

  it('is reported with ranges of slots', () => {
    const table = new SlotTable(() => false);
    table.takeIn(view('a', [1, [1, 2, 3, 7, 16_383]], [2, [4]]), 0);
    expect(table.rangesOf('a')).toBe('1-3, 7, 16383');
    expect(table.rangesOf('b')).toBe('4');
  });
});

describe('New locks in a slot', () => {
  const QUARANTINE = 3_000;
  const DOUBT = doubtTimeOf(QUARANTINE);

  function trustIn(quarantine = QUARANTINE): { table: SlotTable; trust: SlotTrust } {
    const table = new SlotTable(() => false);
    return { table, trust: new SlotTrust(table, quarantine) };
  }

  it('wait in a process that has just started, until all servers have shown that they lost nothing', () => {
    const { table, trust } = trustIn();
    table.takeIn(view('a', [1, [7]], [2, [8]]), 500);
    expect(trust.timeUntilTrusted(7, 1_500)).toBe(DOUBT - 1_000);
    table.noteIntact('a', 1_000, []);
    expect(trust.timeUntilTrusted(7, 1_500)).toBe(0);
    expect(trust.timeUntilTrusted(8, 1_500)).toBe(DOUBT - 1_000);
  });

  it('wait until doubt is over if nothing is shown', () => {
    const { table, trust } = trustIn();
    for (let at = 0; at <= 10_000; at += 1_000) table.takeIn(view('a', [1, [7]], [2, []]), at);
    expect(trust.timeUntilTrusted(7, 10_000)).toBe(0);
    table.takeIn(view('b', [1, []], [3, [7]]), 10_000);
    expect(trust.timeUntilTrusted(7, 10_001)).toBe(DOUBT - 1);
  });

  it('wait again if the slot moved after that was shown', () => {
    const { table, trust } = trustIn();
    table.takeIn(view('a', [1, [7]], [2, []]), 0);
    table.noteIntact('a', 0, []);
    table.takeIn(view('b', [1, []], [3, [7]]), 1_000);
    expect(trust.timeUntilTrusted(7, 1_000)).toBe(DOUBT);
    // A check that was made before the slot came says nothing about the slot.
    table.noteIntact('b', 999, []);
    expect(trust.timeUntilTrusted(7, 1_000)).toBe(DOUBT);
    table.noteIntact('b', 1_000, []);
    expect(trust.timeUntilTrusted(7, 1_000)).toBe(0);
  });

  it('wait only in slots for which that is not shown', () => {
    const { table, trust } = trustIn();
    table.takeIn(view('a', [1, [6, 7, 8, 9]], [2, []]), 0);
    table.noteIntact('a', 0, [[7, 8]]);
    expect([6, 7, 8, 9].map((slot) => trust.timeUntilTrusted(slot, 0))).toEqual([0, DOUBT, DOUBT, 0]);
  });

  it('do not wait if a replica took its master’s place: the slot has stayed in its shard', () => {
    const table = new SlotTable((before, after) => before === 'a' && after === 'b');
    const trust = new SlotTrust(table, QUARANTINE);
    table.takeIn(view('a', [1, [7]], [2, []]), 0);
    table.noteIntact('a', 0, []);
    table.takeIn(view('b', [1, []], [3, [7]]), 1_000);
    expect(trust.timeUntilTrusted(7, 1_000)).toBe(0);
  });

  it('wait if the slot may have been away: its master has a greater epoch, and no new slot that explains it', () => {
    const { table, trust } = trustIn();
    for (let at = 0; at <= 10_000; at += 1_000) table.takeIn(view('a', [1, [7]], [2, [8]]), at);
    table.takeIn(view('a', [3, [7]], [2, [8]]), 11_000);
    expect([7, 8].map((slot) => trust.timeUntilTrusted(slot, 11_000))).toEqual([DOUBT, 0]);
    for (let at = 12_000; at <= 20_000; at += 1_000) table.takeIn(view('a', [3, [7]], [2, [8]]), at);
    table.takeIn(view('a', [4, [7, 8]], [2, []]), 21_000);
    expect([7, 8].map((slot) => trust.timeUntilTrusted(slot, 21_000))).toEqual([0, DOUBT]);
  });

  it('wait if no server could be asked for long, and after that', () => {
    const { table, trust } = trustIn();
    table.takeIn(view('a', [1, [7]], [2, []]), 0);
    table.noteIntact('a', 0, []);
    expect(trust.timeUntilTrusted(7, 5_000)).toBe(0);
    expect(trust.timeUntilTrusted(7, 6_000)).toBe(DOUBT);
    table.takeIn(view('a', [1, [7]], [2, []]), 6_000);
    expect(trust.timeUntilTrusted(7, 6_000)).toBe(DOUBT);
  });

  it('wait if the slot was on its way and has stayed', () => {
    const { table, trust } = trustIn();
    table.takeIn(view('a', [1, [7]], [2, []]), 0);
    table.noteIntact('a', 0, []);
    table.noteMigrating(7, 2_000);
    expect(trust.timeUntilTrusted(7, 2_500)).toBe(QUARANTINE - 500);
    expect(trust.timeUntilTrusted(7, 2_000 + QUARANTINE)).toBe(0);
    table.takeIn(view('a', [1, [7]], [2, []]), 5_000);
    table.noteMigrating(7, 5_500);
    table.takeIn(view('b', [1, []], [3, [7]]), 5_600);
    table.noteIntact('b', 5_600, []);
    expect(trust.timeUntilTrusted(7, 5_700)).toBe(0);
  });

  it('never wait without a quarantine', () => {
    const { table, trust } = trustIn(0);
    table.takeIn(view('a', [1, [7]], [2, []]), 0);
    expect(trust.timeUntilTrusted(7, 1)).toBe(0);
  });
});
