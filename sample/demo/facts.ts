import type { LockKind } from './model.js';
import { LEASE } from './settings.js';
import { seconds } from './time-line.js';

/** What a round has shown. Times are ms. */
export interface RoundFacts {
  readonly lock: LockKind;
  /** Payments that were sent, those that came again included. */
  readonly requests: number;
  /** Answers 409 and 503: nothing was charged, and the customer may ask again. */
  readonly refused: number;
  /** Double charges while all servers were well. */
  readonly calmDoubles: number;
  /** Undefined for the round in which the master lives. */
  readonly failOver?: FailOverFacts;
}

export interface FailOverFacts {
  /** Double charges of orders that were paid around the fail-over. */
  readonly doubles: number;
  /** Orders that were not charged at all. */
  readonly unpaid: number;
  /** The longest time in which no payment got a lock. */
  readonly gap: number;
  /** Locks that were held when the master was killed, and those that were held to the end. */
  readonly held: number;
  readonly wentOn: number;
  /** A charge whose lock had ended long ago: whether the bank refused it. Undefined: not tried. */
  readonly lateChargeRefused?: boolean;
  readonly moments: Moments;
}

/** When it happened, in ms since the start. */
export interface Moments {
  /** The servers that were killed and promoted. */
  readonly dead: string;
  readonly promoted: string;
  /** The first payments have their locks. */
  readonly keptAt: number;
  /** The replicas stop; the last payments ask; the master is killed and the replicas go on. */
  readonly stoppedAt: number;
  readonly askedAt: number;
  readonly killedAt: number;
  readonly promotedAt: number;
  readonly startedAgainAt: number;
  /** The last payments are answered by the other copy of the shop. */
  readonly againAt: number;
  /** The bank has answered the first copy. */
  readonly endedAt: number;
  /** The first copy freezes, and goes on. */
  readonly frozenAt?: number;
  readonly thawedAt?: number;
}

/** A replica that hangs, under the replica lock. */
export interface HangFacts {
  readonly status: number;
  readonly charges: number;
  /** The status when the replica runs again. */
  readonly statusAfter: number;
}

export const NAMES: Readonly<Record<LockKind, string>> = {
  none: 'no lock',
  usual: 'SET NX PX',
  replica: '@ReplicaLocked',
};

/** The table at the end: a title and a cell for each round. */
export function tableRows(rounds: readonly RoundFacts[]): readonly (readonly [string, ...string[]])[] {
  const row = (title: string, cell: (round: RoundFacts) => string): [string, ...string[]] => [
    title,
    ...rounds.map(cell),
  ];
  const ofFailOver = (cell: (facts: FailOverFacts) => string) => (round: RoundFacts) =>
    round.failOver === undefined ? '-' : cell(round.failOver);
  return [
    row('', ({ lock }) => NAMES[lock]),
    row('requests', ({ requests }) => String(requests)),
    row('refused, to be sent again', ({ refused }) => String(refused)),
    row('double charges, all servers well', ({ calmDoubles }) => String(calmDoubles)),
    row(
      'double charges, master killed',
      ofFailOver(({ doubles }) => String(doubles)),
    ),
    row(
      'seconds without new locks',
      ofFailOver(({ gap }) => seconds(gap)),
    ),
    row(
      'held locks that went on',
      ofFailOver(({ held, wentOn }) => `${wentOn} of ${held}`),
    ),
    row('late charge of a frozen holder', ({ lock, failOver }) =>
      failOver?.lateChargeRefused === undefined
        ? lock === 'usual'
          ? 'no token'
          : '-'
        : failOver.lateChargeRefused
          ? 'refused'
          : 'charged',
    ),
  ];
}

/** Aligned lines. Numbers stand at the right of their column. */
export function tableLines(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
      .join('   '),
  );
}

/** What the demonstration was to show and did not, in sentences. Empty: all is as promised. */
export function problemsOf(rounds: readonly RoundFacts[], hang: HangFacts): readonly string[] {
  const problems: (string | false | undefined)[] = [];
  const unlocked = rounds.find(({ lock }) => lock === 'none');
  const usual = rounds.find(({ lock }) => lock === 'usual')?.failOver;
  problems.push(
    !((unlocked?.calmDoubles ?? 0) > 0) &&
      'The race without a lock charged no order twice: it showed nothing',
    !((usual?.doubles ?? 0) > 0) &&
      'The fail-over under the usual lock charged no order twice: it showed nothing',
    usual !== undefined &&
      usual.moments.againAt - usual.moments.askedAt > LEASE &&
      'The fail-over took longer than the lease of the usual lock: it showed nothing',
  );
  const replica = rounds.find(({ lock }) => lock === 'replica');
  const { failOver } = replica ?? {};
  if (replica === undefined || failOver === undefined)
    problems.push('There was no round with @ReplicaLocked');
  else
    problems.push(
      replica.calmDoubles + failOver.doubles > 0 && 'Orders were charged twice under @ReplicaLocked',
      failOver.unpaid > 0 && `${failOver.unpaid} orders were not charged under @ReplicaLocked`,
      failOver.wentOn < failOver.held && `Only ${failOver.wentOn} of ${failOver.held} held locks went on`,
      failOver.lateChargeRefused !== true && 'The bank did not refuse the late charge of the frozen shop',
    );
  problems.push(
    hang.status !== 503 && `The lock did not fail closed while a replica hung: status ${hang.status}`,
    hang.charges > 0 && 'An order was charged without a confirmed lock',
    hang.statusAfter !== 201 && `No lock after the replica went on: status ${hang.statusAfter}`,
  );
  return problems.filter((problem) => typeof problem === 'string');
}
