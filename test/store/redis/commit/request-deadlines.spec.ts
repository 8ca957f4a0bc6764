import { describe, expect, it } from '@jest/globals';
import type { CommitRequest } from '../../../../lib/store/redis/commit/commit-request.js';
import { RequestDeadlines } from '../../../../lib/store/redis/commit/request-deadlines.js';
import { instantOf, Validity } from '../../../../lib/store/validity.js';
import { ManualClock } from '../../../support/manual-clock.js';

const SENT_AFTER = 100;
const CONFIRM_TIME = 1_000;
const ENDS_AFTER = 5_000;
const LEASE = 10_000;

/** The deadline of a request, in ms after the arrival. The group was sent after 100 ms. */
function deadlineOf(properties: Partial<CommitRequest>): number {
  const clock = new ManualClock();
  const arrival = clock.monotonic();
  const heldValidity = Validity.ofLease(LEASE, clock);
  clock.freeze(SENT_AFTER);
  const group = { start: instantOf(clock), offset: 7 };
  const deadlines = new RequestDeadlines(clock, () => {});
  clock.freeze(CONFIRM_TIME);
  if (properties.stage === 'verifying') deadlines.verifying();
  const request = {
    kind: 'acquire',
    group,
    confirmTime: CONFIRM_TIME,
    endsAt: arrival + ENDS_AFTER,
    abandoned: false,
    verdictBy: undefined,
    heldValidity,
    ...properties,
  } as CommitRequest;
  return deadlines.of(request, clock.monotonic()) - arrival;
}

describe('The deadline of a request for a new lock', () => {
  it.each<[string, number, Partial<CommitRequest>]>([
    ['the end of the caller’s time while it is queued', ENDS_AFTER, { stage: 'queued', group: undefined }],
    ['the end of the caller’s time while it waits to be sent again', ENDS_AFTER, { stage: 'queued' }],
    ['the end of the caller’s time while its script is unanswered', ENDS_AFTER, { stage: 'sent' }],
    [
      'the time for confirmations after the sending once it is written',
      SENT_AFTER + CONFIRM_TIME,
      { stage: 'written' },
    ],
    [
      'the time for confirmations after the sending if a verdict did not confirm it',
      SENT_AFTER + CONFIRM_TIME,
      { stage: 'written', verdictBy: -Infinity },
    ],
    ['50 ms later while its keys are checked', SENT_AFTER + CONFIRM_TIME + 50, { stage: 'verifying' }],
    ['never, once the caller has given up', Infinity, { stage: 'sent', abandoned: true }],
  ])('is %s', (_, expected, properties) => {
    expect(deadlineOf(properties)).toBe(expected);
  });

  it('is the end of the wait for a verdict', () => {
    const clock = new ManualClock();
    const verdictBy = clock.monotonic() + SENT_AFTER + CONFIRM_TIME + 50;
    expect(deadlineOf({ stage: 'written', verdictBy })).toBe(SENT_AFTER + CONFIRM_TIME + 50);
  });
});

describe('The deadline of a renewal', () => {
  it.each(['queued', 'sent', 'written'] as const)(
    'is the end of the lock’s validity while it is %s',
    (stage) => {
      const clock = new ManualClock();
      const { duration } = Validity.ofLease(LEASE, clock);
      expect(deadlineOf({ kind: 'renew', stage })).toBe(duration);
    },
  );
});

describe('The check of all deadlines', () => {
  it('comes no sooner after another than the number of open requests permits', async () => {
    const clock = new ManualClock();
    const checks: number[] = [];
    const start = clock.monotonic();
    const due = { kind: 'acquire', stage: 'queued', endsAt: start } as CommitRequest;
    const deadlines = new RequestDeadlines(clock, (now) => {
      checks.push(now - start);
      deadlines.schedule([due], 20_000);
    });
    deadlines.schedule([due], 1);
    await clock.advance(500);
    deadlines.stop();
    expect(checks).toEqual([0, 200, 400]);
  });
});
