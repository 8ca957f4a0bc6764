import { beforeEach, describe, expect, it } from '@jest/globals';
import type { Reply } from '../../../lib/store/redis/connection.js';
import { Flight } from '../../../lib/store/redis/flight.js';
import { Round, type RoundListener } from '../../../lib/store/redis/round.js';
import type { Session } from '../../../lib/store/redis/session.js';
import { ManualClock } from '../../support/manual-clock.js';

const INFO = '# Replication\r\nrole:master\r\nmaster_replid:abc\r\nmaster_repl_offset:100\r\n';

/** What a flight needs of a session; the test answers for the server. */
class StubSession {
  canUnblock = true;
  unblocks = 0;
  ended: unknown;
  readonly run = { links: { question: ['client', 'list', 'type', 'replica'] } };
  readonly address = { host: 'h', port: 1 };
  private readonly onReply: ((reply: Reply, index: number) => void)[] = [];

  sendCommit(_: unknown, onReply: (reply: Reply, index: number) => void): void {
    this.onReply.push(onReply);
  }

  unblockCommit(): void {
    this.unblocks++;
  }

  end(cause: unknown): void {
    this.ended ??= cause;
  }

  /** The scripts of the round have run, and its WAIT blocks. */
  write(round: number): void {
    this.onReply[round]!(INFO, 0);
  }

  /** Its WAIT has ended. */
  close(round: number): void {
    for (const [index, reply] of [0, INFO, ''].entries()) this.onReply[round]!(reply, index + 1);
  }
}

const NOBODY: RoundListener = { onAnswer: () => {}, onWritten: () => {}, onClosed: () => {} };

describe('Rounds on one connection', () => {
  let clock: ManualClock;
  let session: StubSession;
  let flight: Flight;
  const send = (): void => flight.send(new Round([], clock), 1, NOBODY);

  beforeEach(() => {
    clock = new ManualClock();
    session = new StubSession();
    flight = new Flight(session as unknown as Session, clock);
  });

  it('of which nobody stands behind the WAIT let it block', async () => {
    send();
    session.write(0);
    await clock.advance(50);
    expect(session.unblocks).toBe(0);
  });

  it('end a WAIT soon that begins after something was sent behind it', async () => {
    send();
    flight.endWaitSoon();
    await clock.advance(1);
    expect(session.unblocks).toBe(0);
    session.write(0);
    await clock.advance(50);
    expect(session.unblocks).toBe(1);
  });

  it('end both WAITs that something stands behind', async () => {
    send();
    session.write(0);
    send();
    flight.endWaitSoon();
    await clock.advance(5);
    expect(session.unblocks).toBe(1);
    session.close(0);
    session.write(1);
    await clock.advance(50);
    expect(session.unblocks).toBe(2);
  });

  it('take a second one only while the first blocks, and where its WAIT can be ended', () => {
    send();
    expect(flight.takesAnother).toBe(false);
    session.write(0);
    expect(flight.takesAnother).toBe(true);
    session.canUnblock = false;
    expect(flight.takesAnother).toBe(false);
    session.canUnblock = true;
    send();
    expect(flight.takesAnother).toBe(false);
  });
});
