import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  ServiceUnavailableException,
} from '@nestjs/common';
import type { Subscription } from 'rxjs';
import { LockService } from '../lock/lock-service.js';
import { BOARD_SERVICE, BOARD_SETTINGS, type BoardSettings } from './board-options.js';
import { entryOfEvent, entryOfReport } from './event-texts.js';
import { EventStream, type StreamResponse } from './event-stream.js';
import { RecentEvents } from './recent-events.js';
import { snapshot } from './snapshot.js';

/** ms between the messages with new events. */
const NEWS_PERIOD = 250;
/** The state is sent with every fourth of these messages. */
const STATE_EVERY = 4;

/**
 * Sends the state and the events of the process to the pages that are open. Reports are kept all the
 * time. Events of locks are only listened to while a page is open, because they cost something then.
 */
@Injectable()
export class BoardFeed implements BeforeApplicationShutdown {
  private readonly recent = new RecentEvents();
  private readonly streams = new Set<EventStream>();
  private readonly reports: Subscription | undefined;
  private events: Subscription | undefined;
  private timer: NodeJS.Timeout | undefined;
  private ticks = 0;
  private isClosed = false;

  constructor(
    @Inject(BOARD_SERVICE) private readonly service: LockService,
    @Inject(BOARD_SETTINGS) private readonly settings: BoardSettings,
  ) {
    // A test may have put a plain object in place of the service.
    if (service instanceof LockService)
      this.reports = service.reports.subscribe((report) =>
        this.recent.addReport(entryOfReport(report, Date.now())),
      );
  }

  /** Sends to this response until its socket closes, or the application shuts down. */
  open(response: StreamResponse): void {
    if (this.isClosed) throw new ServiceUnavailableException('The application is shutting down.');
    const stream = new EventStream(response, () => this.left(stream));
    // The reader has left while a guard was asked. Its socket will not close once more.
    if (stream.isGone) return;
    this.streams.add(stream);
    if (this.streams.size === 1) this.start();
    stream.send('state', this.state());
    stream.send('news', this.recent.all());
    stream.lastSeen = this.recent.last;
  }

  /** The server waits for open requests before it closes. */
  beforeApplicationShutdown(): void {
    this.isClosed = true;
    this.reports?.unsubscribe();
    for (const stream of this.streams) stream.end();
  }

  private start(): void {
    this.events = this.service.events.subscribe((event) => {
      const entry = entryOfEvent(event, Date.now());
      if (entry !== undefined) this.recent.addEvent(entry);
    });
    this.timer = setInterval(() => this.tick(), NEWS_PERIOD);
    this.timer.unref();
  }

  private left(stream: EventStream): void {
    this.streams.delete(stream);
    if (this.streams.size > 0) return;
    clearInterval(this.timer);
    this.events?.unsubscribe();
  }

  private tick(): void {
    const state = ++this.ticks % STATE_EVERY === 0 ? this.state() : undefined;
    for (const stream of this.streams) {
      if (stream.isBehind()) continue;
      if (state !== undefined) stream.send('state', state);
      if (stream.lastSeen === this.recent.last) continue;
      stream.send('news', this.recent.since(stream.lastSeen));
      stream.lastSeen = this.recent.last;
    }
  }

  private state(): object {
    return snapshot(this.service, this.settings);
  }
}
