import { describe, expect, it } from '@jest/globals';
import { UnblockRules } from '../../../../lib/store/redis/commit/unblock-rules.js';

const EVENTS = {
  'a group is sent': (waits: UnblockRules) => waits.sent(),
  'its first INFO is answered': (waits: UnblockRules) => waits.began(),
  'WAIT answers a count': (waits: UnblockRules) => waits.ended(false),
  'WAIT answers UNBLOCKED': (waits: UnblockRules) => waits.ended(true),
  'UNBLOCK is sent': (waits: UnblockRules) => waits.unblockSent(),
  'UNBLOCK answers 1': (waits: UnblockRules) => waits.unblockAnswered(true),
  'UNBLOCK answers 0': (waits: UnblockRules) => waits.unblockAnswered(false),
};
type Event = keyof typeof EVENTS;

const OPEN: readonly Event[] = ['a group is sent', 'its first INFO is answered'];
const TWO: readonly Event[] = [...OPEN, 'a group is sent'];
const TWO_UNBLOCKING: readonly Event[] = [...TWO, 'UNBLOCK is sent'];
const SECOND_OPEN: readonly Event[] = ['WAIT answers a count', 'its first INFO is answered'];

const YES = true;
const NO = false;

/**
 * After these events: may an UNBLOCK be sent, and may anything be sent on the commit connection?
 */
const cases: readonly (readonly [
  title: string,
  events: readonly Event[],
  mayUnblock: boolean,
  maySend: boolean,
])[] = [
  ['nothing is in flight', [], NO, YES],
  ['the scripts may be paused', ['a group is sent'], NO, YES],
  ['the WAIT has begun', OPEN, YES, YES],
  ['a second group waits behind the WAIT', TWO, YES, YES],
  ['an UNBLOCK is on its way', [...OPEN, 'UNBLOCK is sent'], NO, NO],
  [
    'the UNBLOCK has ended the WAIT, whose answer is on its way',
    [...OPEN, 'UNBLOCK is sent', 'UNBLOCK answers 1'],
    NO,
    YES,
  ],
  [
    'the UNBLOCK found nothing: the network delivered the group in two pieces',
    [...OPEN, 'UNBLOCK is sent', 'UNBLOCK answers 0'],
    YES,
    YES,
  ],
  [
    'the WAIT answers UNBLOCKED before the UNBLOCK is answered',
    [...OPEN, 'UNBLOCK is sent', 'WAIT answers UNBLOCKED'],
    NO,
    NO,
  ],
  ['the WAIT ended by itself', [...OPEN, 'UNBLOCK is sent', 'WAIT answers a count'], NO, NO],
  [
    'a group that was sent after the UNBLOCK was answered has begun its WAIT',
    [...OPEN, 'UNBLOCK is sent', 'WAIT answers UNBLOCKED', 'UNBLOCK answers 1', ...OPEN],
    YES,
    YES,
  ],
  ['the second group’s scripts may be paused', [...TWO, 'WAIT answers a count'], NO, YES],
  [
    'the UNBLOCK for the first WAIT comes while the second is open',
    [...TWO_UNBLOCKING, ...SECOND_OPEN],
    NO,
    NO,
  ],
  [
    'the UNBLOCK ended the second WAIT, because the first had ended by itself',
    [...TWO_UNBLOCKING, ...SECOND_OPEN, 'UNBLOCK answers 1'],
    NO,
    YES,
  ],
  [
    'the UNBLOCK ended the second WAIT before its INFO was answered',
    [...TWO_UNBLOCKING, 'WAIT answers a count', 'UNBLOCK answers 1', 'its first INFO is answered'],
    NO,
    YES,
  ],
  ['and found nothing between the two', [...TWO_UNBLOCKING, ...SECOND_OPEN, 'UNBLOCK answers 0'], YES, YES],
  [
    'the UNBLOCK ended the first WAIT, so that the second can be ended too',
    [...TWO_UNBLOCKING, 'WAIT answers UNBLOCKED', 'its first INFO is answered', 'UNBLOCK answers 1'],
    YES,
    YES,
  ],
  [
    'another client ended the first WAIT, and the UNBLOCK found nothing',
    [...TWO_UNBLOCKING, 'WAIT answers UNBLOCKED', 'UNBLOCK answers 0', 'its first INFO is answered'],
    YES,
    YES,
  ],
];

describe('CLIENT UNBLOCK', () => {
  it.each(cases)('%s', (_title, events, mayUnblock, maySend) => {
    const waits = new UnblockRules();
    for (const event of events) EVENTS[event](waits);
    expect({ mayUnblock: waits.mayUnblock, maySend: waits.maySend }).toEqual({ mayUnblock, maySend });
  });
});
