import { KINDS, type Kind, type WorkerEvent } from './events.js';

/** Two clocks are read one after the other: beliefs that overlap by less than this are none. */
const TOLERANCE = 1;

interface Hold {
  readonly id: string;
  readonly worker: number;
  readonly key: string;
  readonly token: number;
  readonly start: number;
  /** When the holder stops believing at the latest, by what it knows. */
  until: number;
}

export interface Violation {
  readonly what: 'two holders' | 'token not greater' | 'told late';
  readonly key: string;
  readonly at: number;
  readonly detail: string;
}

/** Follows what workers believe, and says where two of them believed at once. */
export class Checker {
  private readonly holds = new Map<Kind, Hold[]>(KINDS.map((kind) => [kind, []]));
  private readonly byId = new Map<string, Hold>();
  private readonly deleted: { key: string; id: string; from: number; at: number }[] = [];
  readonly refusals = new Map<string, number>();
  readonly troubles: string[] = [];

  take(worker: number, event: WorkerEvent): void {
    switch (event.e) {
      case 'grant': {
        const hold = {
          id: event.id,
          worker,
          key: event.key,
          token: event.token,
          start: event.t,
          until: event.until,
        };
        this.byId.set(event.id, hold);
        this.holds.get(event.kind)?.push(hold);
        break;
      }
      case 'valid': {
        const hold = this.byId.get(event.id);
        // A renewal that comes after the release moves nothing.
        if (hold !== undefined && hold.until >= event.t) hold.until = event.until;
        break;
      }
      case 'release':
      case 'lost': {
        const hold = this.byId.get(event.id);
        if (hold !== undefined) hold.until = Math.min(hold.until, event.t);
        break;
      }
      case 'refused':
        this.refusals.set(event.code, (this.refusals.get(event.code) ?? 0) + 1);
        break;
      case 'trouble':
        this.troubles.push(event.what);
    }
  }

  /** The worker's process was killed: nobody believes any more. */
  workerDied(worker: number, at: number): void {
    for (const holds of this.holds.values()) {
      for (const hold of holds) if (hold.worker === worker) hold.until = Math.min(hold.until, at);
    }
  }

  /** The nemesis deleted a key while `id` held it, at some time between the two instants. */
  keyDeleted(key: string, id: string, from: number, at: number): void {
    this.deleted.push({ key, id, from, at });
  }

  grants(kind: Kind): number {
    return this.holds.get(kind)?.length ?? 0;
  }

  /** Whether the grants of a span of time include one of this kind, and when the first came. */
  firstGrantAfter(kind: Kind, at: number): number | undefined {
    return this.holds.get(kind)?.find((hold) => hold.start > at)?.start;
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

  violations(kind: Kind, toldWithin: number): Violation[] {
    const violations: Violation[] = [];
    const byKey = new Map<string, Hold[]>();
    for (const hold of this.holds.get(kind) ?? [])
      byKey.set(hold.key, [...(byKey.get(hold.key) ?? []), hold]);
    for (const [key, holds] of byKey) {
      holds.sort((a, b) => a.start - b.start);
      let longest: Hold | undefined;
      let greatest = 0;
      for (const hold of holds) {
        // Whose key somebody deleted is told soon, but not before the next one can have it: 'told late' watches that.
        const isDeleted = this.deleted.some(({ id, from }) => id === longest?.id && from < hold.start);
        if (longest !== undefined && longest.until > hold.start + TOLERANCE && !isDeleted) {
          violations.push({
            what: 'two holders',
            key,
            at: hold.start,
            detail: `worker ${longest.worker} (${longest.id}) believed for ${(longest.until - hold.start).toFixed(1)} ms more when worker ${hold.worker} (${hold.id}) was granted it`,
          });
        }
        if (kind === 'replica' && hold.token <= greatest) {
          violations.push({
            what: 'token not greater',
            key,
            at: hold.start,
            detail: `${hold.token} after ${greatest}`,
          });
        }
        if (longest === undefined || hold.until > longest.until) longest = hold;
        greatest = Math.max(greatest, hold.token);
      }
    }
    if (kind === 'replica') {
      for (const { key, id, at } of this.deleted) {
        const hold = this.byId.get(id);
        const late = hold === undefined ? 0 : hold.until - at;
        if (late > toldWithin)
          violations.push({
            what: 'told late',
            key,
            at,
            detail: `its holder believed for ${late.toFixed(0)} ms more`,
          });
      }
    }
    return violations;
  }

  /** Holds that are believed in at this instant. */
  current(kind: Kind, at: number): { key: string; id: string }[] {
    return (this.holds.get(kind) ?? []).slice(-400).filter((hold) => hold.start < at && hold.until > at);
  }
}
