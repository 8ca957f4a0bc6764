import type { BoardEvent } from './board-model.js';

/** Reports for operators that are kept, and events of locks. Older ones are forgotten. */
const MOST_REPORTS = 100;
const MOST_EVENTS = 50;

/**
 * The latest events of a process. Readers keep the id of the last event that they know, so a slow
 * reader costs no memory. Events of locks come in thousands, and never push out reports.
 */
export class RecentEvents {
  private lastId = 0;
  private readonly reports = new Ring(MOST_REPORTS);
  private readonly events = new Ring(MOST_EVENTS);

  addReport(report: Omit<BoardEvent, 'id'>): void {
    this.reports.add({ id: ++this.lastId, ...report });
  }

  addEvent(event: Omit<BoardEvent, 'id'>): void {
    this.events.add({ id: ++this.lastId, ...event });
  }

  /** The id of the last event. */
  get last(): number {
    return this.lastId;
  }

  /** All events that are known, the oldest first. */
  all(): readonly BoardEvent[] {
    return [...this.reports.since(0), ...this.events.since(0)].toSorted(byId);
  }

  /**
   * The events after the one with this id. If some were forgotten, an entry with the id of the first
   * of them says how many.
   */
  since(id: number): readonly BoardEvent[] {
    const events = this.all().filter((event) => event.id > id);
    const missed = this.lastId - id - events.length;
    if (missed === 0) return events;
    let firstMissed = id + 1;
    for (const event of events) if (event.id === firstMissed) firstMissed++;
    return [...events, missedEntry(firstMissed, missed)].toSorted(byId);
  }
}

function byId(one: BoardEvent, other: BoardEvent): number {
  return one.id - other.id;
}

function missedEntry(id: number, missed: number): BoardEvent {
  const text = 'not listed, because too many came at once';
  return { id, at: Date.now(), tone: 'plain', what: `${missed} more`, keys: [], text };
}

/** The last items that were added. */
class Ring {
  private items: BoardEvent[] = [];

  constructor(private readonly size: number) {}

  add(item: BoardEvent): void {
    this.items.push(item);
    // Cut now and then: `shift` on each addition would move all items each time.
    if (this.items.length >= 2 * this.size) this.items = this.items.slice(-this.size);
  }

  since(id: number): readonly BoardEvent[] {
    return this.items.slice(-this.size).filter((item) => item.id > id);
  }
}
