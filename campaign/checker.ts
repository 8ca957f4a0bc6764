import { KINDS, type Kind, type WorkerEvent } from './events.js';

/**
 * ms. Two clocks are read one after the other, so a shorter overlap of two beliefs does not count.
 */
const TOLERANCE = 1;

/**
 * ms that a write may be under way. A write is dated by the sending, and the holder may rightly
 * have lost the lock before the write arrived.
 */
const WRITE_TOLERANCE = 1_000;

/**
 * The news of a deletion passes through the server to the holder, which checks the key. If a
 * machine needs some time for one deletion, the news needs this many times as long.
 */
const DELETION_HOPS = 3;

interface Hold {
  readonly id: string;
  readonly worker: number;
  readonly key: string;
  readonly token: number;
  readonly limit: number;
  readonly start: number;
  /** The latest time at which the holder stops believing, as far as the holder knows. */
  until: number;
  /** When the holder reported the release or the loss. */
  endedAt?: number;
  /** When the holder reported the loss, and how long the holder's event loop had stood still. */
  lostAt?: number;
  gap?: number;
  why?: string;
}

type Write = Extract<WorkerEvent, { e: 'write' }>;

export interface Violation {
  readonly what:
    | 'too many holders'
    | 'token not greater'
    | 'told late'
    | 'stale write let through'
    | 'holder refused by the fence'
    | 'work after the end'
    | 'leads after the end'
    | 'lost without need'
    | 'a program died';
  readonly key: string;
  readonly at: number;
  readonly detail: string;
}

/**
 * Follows the belief of the workers, and reports when more workers believed in a lock at once than
 * one of them allows.
 */
export class Checker {
  private readonly holds = new Map<Kind, Hold[]>(KINDS.map((kind) => [kind, []]));
  private readonly byId = new Map<string, Hold>();
  private readonly writes: Write[] = [];
  private readonly leadAfterEnd: Violation[] = [];
  private readonly renewedAt: number[] = [];
  private readonly mildTimes: { from: number; to: number }[] = [];
  private readonly deaths: { what: string; at: number }[] = [];
  private readonly deleted: { key: string; id: string; from: number; at: number }[] = [];
  readonly refusals = new Map<string, number>();
  readonly troubles: string[] = [];

  constructor(private readonly leaseTime: number) {}

  take(worker: number, event: WorkerEvent): void {
    switch (event.e) {
      case 'grant': {
        const hold = {
          id: event.id,
          worker,
          key: event.key,
          token: event.token,
          limit: event.limit,
          start: event.t,
          until: event.until,
        };
        this.byId.set(event.id, hold);
        this.holds.get(event.kind)?.push(hold);
        break;
      }
      case 'valid': {
        const hold = this.byId.get(event.id);
        // A renewal that comes after the release changes nothing.
        if (hold !== undefined && hold.until >= event.t) hold.until = event.until;
        if (event.kind === 'replica') this.renewedAt.push(event.t);
        break;
      }
      case 'leads': {
        const hold = this.byId.get(event.id);
        if (hold?.endedAt !== undefined && event.t > hold.endedAt + TOLERANCE) {
          const late = (event.t - hold.endedAt).toFixed(1);
          const detail = `worker ${worker} (${event.id}) said so ${late} ms after the end of its term`;
          this.leadAfterEnd.push({ what: 'leads after the end', key: hold.key, at: event.t, detail });
        } else if (hold !== undefined) hold.until = Math.max(hold.until, event.t);
        break;
      }
      case 'release':
      case 'lost': {
        const hold = this.byId.get(event.id);
        if (hold === undefined) break;
        hold.until = Math.min(hold.until, event.t);
        hold.endedAt ??= event.t;
        if (event.e === 'lost' && hold.lostAt === undefined)
          Object.assign(hold, { lostAt: event.t, gap: event.gap, why: event.why });
        break;
      }
      case 'write':
        this.writes.push(event);
        break;
      case 'refused':
        this.refusals.set(event.code, (this.refusals.get(event.code) ?? 0) + 1);
        break;
      case 'trouble':
        this.troubles.push(event.what);
    }
  }

  /** The worker's process was killed: the worker believes in no lock any more. */
  workerDied(worker: number, at: number): void {
    for (const holds of this.holds.values()) {
      for (const hold of holds) if (hold.worker === worker) hold.until = Math.min(hold.until, at);
    }
  }

  /** A fault deleted a key while `id` held it, at some time between the two instants. */
  keyDeleted(key: string, id: string, from: number, at: number): void {
    this.deleted.push({ key, id, from, at });
  }

  /**
   * Between the two instants no fault occurred that could cost a lock that was granted in that
   * time.
   */
  wasMild(from: number, to: number): void {
    this.mildTimes.push({ from, to });
  }

  /** A server or a worker ended, although no fault had ended it. */
  programDied(what: string, at: number): void {
    this.deaths.push({ what, at });
  }

  grants(kind: Kind): number {
    return this.holds.get(kind)?.length ?? 0;
  }

  /** Whether the grants of a time span include a grant of this kind, and when the first came. */
  firstGrantAfter(kind: Kind, at: number): number | undefined {
    return this.holds.get(kind)?.find((hold) => hold.start > at)?.start;
  }

  /** When a lock was first confirmed anew after this instant. */
  firstRenewalAfter(at: number): number | undefined {
    return this.renewedAt.find((t) => t > at);
  }

  /** Writes that the fence refused, all of them from former holders. */
  get refusedWrites(): number {
    return this.writes.filter(({ isAccepted }) => !isAccepted).length;
  }

  /** Keys that were not granted after this instant, and that have no holder. */
  stuckSince(at: number, keys: readonly string[], now: number): string[] {
    const holds = this.holds.get('replica') ?? [];
    const moved = new Set(holds.filter((hold) => hold.start > at || hold.until > now).map(({ key }) => key));
    return keys.filter((key) => !moved.has(key));
  }

  /** The longest time without a grant between two instants. */
  longestGap(kind: Kind, from: number, to: number): number {
    let last = from;
    let gap = 0;
    for (const { start } of this.holds.get(kind) ?? []) {
      if (start < from || start > to) continue;
      gap = Math.max(gap, start - last);
      last = start;
    }
    return Math.max(gap, to - last);
  }

  /** The longest time for which one of the keys had no holder between two instants. */
  longestVacancy(keys: readonly string[], from: number, to: number): number {
    const holds = (this.holds.get('replica') ?? []).toSorted((a, b) => a.start - b.start);
    const vacancies = keys.map((key) => {
      let heldUntil = from;
      let longest = 0;
      for (const { start, until } of holds.filter((hold) => hold.key === key && hold.start < to)) {
        longest = Math.max(longest, start - heldUntil);
        heldUntil = Math.max(heldUntil, until);
      }
      return Math.max(longest, to - heldUntil);
    });
    return Math.max(...vacancies);
  }

  violations(kind: Kind, toldWithin: number): Violation[] {
    const violations: Violation[] = [];
    const byKey = new Map<string, Hold[]>();
    for (const hold of this.holds.get(kind) ?? [])
      byKey.set(hold.key, [...(byKey.get(hold.key) ?? []), hold]);
    for (const [key, holds] of byKey) {
      holds.sort((a, b) => a.start - b.start);
      let believers: Hold[] = [];
      let greatest = 0;
      let greatestAlone = 0;
      for (const hold of holds) {
        // A holder whose key was deleted hears of that soon, but perhaps after the next holder was
        // granted the key. 'told late' checks that time.
        const isDeleted = (other: Hold): boolean =>
          this.deleted.some(({ id, from }) => id === other.id && from < hold.start);
        believers = believers.filter((other) => other.until > hold.start + TOLERANCE);
        const all = [...believers.filter((other) => !isDeleted(other)), hold];
        const strictest = all.toSorted((a, b) => a.limit - b.limit)[0]!;
        if (all.length > strictest.limit) {
          const [first] = all.toSorted((a, b) => b.until - a.until).filter((other) => other !== hold);
          violations.push({
            what: 'too many holders',
            key,
            at: hold.start,
            detail: `${all.length} with a limit of ${strictest.limit}: worker ${first?.worker} (${first?.id}) believed for ${((first?.until ?? 0) - hold.start).toFixed(1)} ms more when worker ${hold.worker} (${hold.id}) was granted it`,
          });
        }
        // Two holders of a shared key may be told of their grants in either order.
        const before = hold.limit === 1 ? greatest : greatestAlone;
        if (kind === 'replica' && hold.token <= before) {
          violations.push({
            what: 'token not greater',
            key,
            at: hold.start,
            detail: `${hold.token} after ${before}`,
          });
        }
        believers.push(hold);
        greatest = Math.max(greatest, hold.token);
        if (hold.limit === 1) greatestAlone = hold.token;
      }
    }
    if (kind === 'replica') {
      for (const { key, id, from, at } of this.deleted) {
        const hold = this.byId.get(id);
        const late = hold === undefined ? 0 : hold.until - at;
        // How slow the machine was: how long the deletion itself took, and how long the holder's
        // event loop stood still.
        const slowness = DELETION_HOPS * (at - from) + (hold?.gap ?? 0);
        if (late > toldWithin + slowness)
          violations.push({
            what: 'told late',
            key,
            at,
            detail: `its holder believed for ${late.toFixed(0)} ms more, of which a slow machine excuses ${slowness.toFixed(0)} ms`,
          });
      }
    }
    if (kind === 'replica')
      violations.push(...this.writeViolations(), ...this.needlessLosses(), ...this.leadAfterEnd);
    if (kind === 'replica')
      for (const { what, at } of this.deaths)
        violations.push({ what: 'a program died', key: '', at, detail: what });
    return violations;
  }

  /** Losses in a mild time, in processes whose event loop ran often enough. */
  private needlessLosses(): Violation[] {
    return (this.holds.get('replica') ?? []).flatMap(({ id, key, start, lostAt, gap = 0, why = '' }) => {
      const isMild = this.mildTimes.some(({ from, to }) => from <= start && (lostAt ?? Infinity) <= to);
      if (!isMild || lostAt === undefined || gap > this.leaseTime / 3) return [];
      const detail = `${id} after ${(lostAt - start).toFixed(0)} ms; its event loop had come round within ${gap.toFixed(0)} ms: ${why}`;
      return [{ what: 'lost without need', key, at: lostAt, detail }];
    });
  }

  /** What the fenced resource saw, in that order. */
  private writeViolations(): Violation[] {
    const violations: Violation[] = [];
    const greatest = new Map<string, number>();
    for (const write of this.writes.toSorted((a, b) => a.place - b.place)) {
      const { key, token, isAccepted, id, t: at } = write;
      const seen = greatest.get(key) ?? 0;
      greatest.set(key, Math.max(seen, token));
      const hold = this.byId.get(id);
      const detail = `${id} wrote with ${token} after ${seen}`;
      if (isAccepted && token < seen) violations.push({ what: 'stale write let through', key, at, detail });
      const isDeleted = this.deleted.some((deletion) => deletion.id === id);
      if (!isAccepted && hold !== undefined && hold.until > at + WRITE_TOLERANCE && !isDeleted)
        violations.push({ what: 'holder refused by the fence', key, at, detail });
      if (hold?.endedAt !== undefined && at > hold.endedAt + TOLERANCE)
        violations.push({ what: 'work after the end', key, at, detail });
    }
    return violations;
  }

  /** Holds that are believed in at this instant. */
  current(kind: Kind, at: number): { key: string; id: string }[] {
    return (this.holds.get(kind) ?? []).slice(-400).filter((hold) => hold.start < at && hold.until > at);
  }
}
