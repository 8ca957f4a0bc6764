import { describe, expect, it } from '@jest/globals';
import { parseArguments } from '../../sample/demo/arguments.js';
import {
  type FailOverFacts,
  type HangFacts,
  problemsOf,
  type RoundFacts,
  tableLines,
  tableRows,
} from '../../sample/demo/facts.js';
import type { DemoEvent } from '../../sample/demo/model.js';
import { recordingOf } from '../../sample/demo/recording.js';
import { longestGap, TimeLine } from '../../sample/demo/time-line.js';

const NONE: RoundFacts = { lock: 'none', requests: 96, refused: 0, calmDoubles: 44 };
const USUAL_FAIL_OVER: FailOverFacts = {
  doubles: 8,
  unpaid: 0,
  gap: 4_260,
  held: 12,
  wentOn: 4,
  moments: {
    dead: 'redis-1',
    promoted: 'redis-3',
    keptAt: 5_100,
    stoppedAt: 5_150,
    askedAt: 5_400,
    killedAt: 5_500,
    promotedAt: 8_700,
    startedAgainAt: 8_800,
    againAt: 9_400,
    endedAt: 9_600,
  },
};
const USUAL: RoundFacts = {
  lock: 'usual',
  requests: 145,
  refused: 3,
  calmDoubles: 0,
  failOver: USUAL_FAIL_OVER,
};
const REPLICA_FAIL_OVER: FailOverFacts = {
  doubles: 0,
  unpaid: 0,
  gap: 17_049,
  held: 5,
  wentOn: 5,
  lateChargeRefused: true,
  moments: {
    dead: 'redis-3',
    promoted: 'redis-1',
    keptAt: 23_100,
    stoppedAt: 23_150,
    askedAt: 23_400,
    killedAt: 24_500,
    promotedAt: 27_800,
    startedAgainAt: 28_000,
    endedAt: 28_000,
    frozenAt: 28_010,
    againAt: 40_000,
    thawedAt: 41_300,
  },
};
const REPLICA: RoundFacts = {
  lock: 'replica',
  requests: 348,
  refused: 201,
  calmDoubles: 0,
  failOver: REPLICA_FAIL_OVER,
};
const HANG: HangFacts = { status: 503, charges: 0, statusAfter: 201 };

describe('The time without new locks', () => {
  it.each<[string, number[], number]>([
    ['is the longest pause between two grants', [100, 200, 900, 1_000], 700],
    ['counts from the start', [800, 900], 800],
    ['counts to the end', [100, 200], 800],
    ['is everything if nothing was granted', [], 1_000],
    ['leaves out what was granted before and after', [-500, 400, 1_500], 600],
  ])('%s', (_, grants, gap) => {
    expect(longestGap(grants, 0, 1_000)).toBe(gap);
  });
});

describe('The time line', () => {
  it('numbers what happens, and tells a late listener all of it', () => {
    let now = 5_000;
    const timeLine = new TimeLine(() => now);
    now += 1_500;
    timeLine.add('fault', 'kill -9', 'bad');
    now += 500;
    timeLine.add('sentinel', 'promoted');
    const events: DemoEvent[] = [];
    timeLine.events.subscribe((event) => events.push(event));
    expect(timeLine.now).toBe(2_000);
    expect(events).toEqual([
      { id: 1, at: 1_500, kind: 'fault', tone: 'bad', text: 'kill -9' },
      { id: 2, at: 2_000, kind: 'sentinel', tone: 'plain', text: 'promoted' },
    ]);
  });
});

describe('The table of the demonstration', () => {
  it('has a column for each round', () => {
    expect(tableLines(tableRows([NONE, USUAL, REPLICA]))).toEqual([
      '                                   no lock   SET NX PX   @ReplicaLocked',
      'requests                                96         145              348',
      'refused, to be sent again                0           3              201',
      'double charges, all servers well        44           0                0',
      'double charges, master killed            -           8                0',
      'seconds without new locks                -         4.3             17.0',
      'held locks that went on                  -     4 of 12           5 of 5',
      'late charge of a frozen holder           -    no token          refused',
    ]);
  });
});

describe('The demonstration succeeds', () => {
  const replicaRound = (facts: Partial<FailOverFacts>): RoundFacts => ({
    ...REPLICA,
    failOver: { ...REPLICA_FAIL_OVER, ...facts },
  });

  it('if the usual lock charged twice and the replica lock did not', () => {
    expect(problemsOf([NONE, USUAL, REPLICA], HANG)).toEqual([]);
  });

  it.each<[string, RoundFacts[], HangFacts, string]>([
    [
      'the race without a lock showed nothing',
      [{ ...NONE, calmDoubles: 0 }, USUAL, REPLICA],
      HANG,
      'The race',
    ],
    [
      'the usual lock survived the fail-over',
      [NONE, { ...USUAL, failOver: { ...USUAL_FAIL_OVER, doubles: 0 } }, REPLICA],
      HANG,
      'The fail-over under the usual lock',
    ],
    [
      'the replica lock charged twice',
      [NONE, USUAL, replicaRound({ doubles: 1 })],
      HANG,
      'Orders were charged',
    ],
    [
      'the replica lock charged twice without any fault',
      [NONE, USUAL, { ...REPLICA, calmDoubles: 1 }],
      HANG,
      'Orders were charged',
    ],
    ['an order was never charged', [NONE, USUAL, replicaRound({ unpaid: 2 })], HANG, '2 orders'],
    ['a held lock was lost', [NONE, USUAL, replicaRound({ wentOn: 4 })], HANG, 'Only 4 of 5'],
    [
      'the late charge was taken',
      [NONE, USUAL, replicaRound({ lateChargeRefused: false })],
      HANG,
      'The bank',
    ],
    ['there was no round with the replica lock', [NONE, USUAL], HANG, 'There was no round'],
    ['the lock did not fail closed', [NONE, USUAL, REPLICA], { ...HANG, status: 201 }, 'The lock did not'],
    ['it charged without a lock', [NONE, USUAL, REPLICA], { ...HANG, charges: 1 }, 'An order was charged'],
    ['the lock stayed closed', [NONE, USUAL, REPLICA], { ...HANG, statusAfter: 503 }, 'No lock after'],
  ])('but not if %s', (_, rounds, hang, problem) => {
    expect(problemsOf(rounds, hang)).toEqual([expect.stringContaining(problem)]);
  });
});

describe('The picture of a run', () => {
  const picture = recordingOf([NONE, USUAL, REPLICA]) ?? '';

  it('says what happened, in words and in both color schemes', () => {
    for (const words of ['8 orders charged twice', 'no order charged twice', '4 of 12 held', '5 of 5 held'])
      expect(picture).toContain(words);
    expect(picture).toContain('prefers-color-scheme:dark');
    expect(picture).toMatch(/aria-label="[^"]*8 orders are charged twice[^"]*17\.0 s/);
  });

  it('has every bar and every word within its width', () => {
    const [, width] = /viewBox="0 0 (\d+) /.exec(picture) ?? [];
    for (const [, x = '', length = '0'] of picture.matchAll(/<rect x="([\d.-]+)"[^>]*? width="([\d.]+)"/g)) {
      expect(Number(x)).toBeGreaterThan(0);
      expect(Number(x) + Number(length)).toBeLessThan(Number(width));
    }
    for (const [, x = '', words = ''] of picture.matchAll(/<text x="([\d.]+)"[^>]*? strong">([^<]*)</g))
      expect(Number(x) + words.length * 7).toBeLessThan(Number(width));
  });

  it('is small', () => {
    expect(picture.length).toBeLessThan(40_000);
  });

  it('needs both fail-overs', () => {
    expect(recordingOf([NONE, USUAL])).toBeUndefined();
  });
});

describe('The arguments of the demonstration', () => {
  it.each([
    [[], { rounds: true, keep: false, record: undefined }],
    [['--keep'], { rounds: true, keep: true, record: undefined }],
    [['--page'], { rounds: false, keep: true, record: undefined }],
    [['--record', 'a.svg'], { rounds: true, keep: false, record: 'a.svg' }],
  ])('%j', (args, expected) => {
    expect(parseArguments(args)).toEqual(expected);
  });

  it('are refused with the usage if they are unknown', () => {
    expect(() => parseArguments(['--kepp'])).toThrow(/'--kepp'[^]*Usage: npm run demo/);
  });
});
