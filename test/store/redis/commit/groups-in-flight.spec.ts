import { beforeEach, describe, expect, it } from '@jest/globals';
import { ErrorReply, type Command, type Reply } from '../../../../lib/store/redis/resp.js';
import { GroupsInFlight } from '../../../../lib/store/redis/commit/groups-in-flight.js';
import { CommitGroup, type CommitGroupListener } from '../../../../lib/store/redis/commit/commit-group.js';
import type { Session } from '../../../../lib/store/redis/connection/session.js';
import { ManualClock } from '../../../support/manual-clock.js';

const INFO = '# Replication\r\nrole:master\r\nmaster_replid:abc\r\nmaster_repl_offset:100\r\n';
const UNBLOCKED = new ErrorReply('UNBLOCKED client unblocked via CLIENT UNBLOCK');

/** The part of a session that the groups in flight need. The test answers for the server. */
class StubSession {
  canUnblock = true;
  asked = 0;
  readonly run = { links: { command: ['client', 'list', 'type', 'replica'] } };
  readonly address = { host: 'h', port: 1 };
  readonly unblocks: ((hit: boolean) => void)[] = [];
  private readonly onReply: ((reply: Reply, index: number) => void)[] = [];

  sendCommit(_: unknown, onReply: (reply: Reply, index: number) => void): void {
    this.onReply.push(onReply);
  }

  askCommit(commands: readonly Command[]): Promise<Reply[]> {
    this.asked++;
    return Promise.resolve(commands.map(() => 'OK'));
  }

  unblockCommit(onAnswer: (hit: boolean) => void): void {
    this.unblocks.push(onAnswer);
  }

  get sent(): number {
    return this.onReply.length;
  }

  /** The scripts of the group have run, and the group's WAIT blocks. */
  write(group: number): void {
    this.onReply[group]!(INFO, 0);
  }

  /** The WAIT of the group has ended. */
  close(group: number, count: Reply = 0): void {
    for (const [index, reply] of [count, INFO, ''].entries()) this.onReply[group]!(reply, index + 1);
  }
}

const NOBODY: CommitGroupListener = { onAnswer: () => {}, onWritten: () => {}, onCompleted: () => {} };

describe('Groups on one connection', () => {
  let clock: ManualClock;
  let session: StubSession;
  let inFlight: GroupsInFlight;
  const send = (): void => inFlight.send(new CommitGroup([], clock), 1, NOBODY);

  beforeEach(() => {
    clock = new ManualClock();
    session = new StubSession();
    inFlight = new GroupsInFlight(session as unknown as Session, clock);
  });

  it('let a WAIT block if no command waits behind it', async () => {
    send();
    session.write(0);
    await clock.advance(50);
    expect(session.unblocks).toHaveLength(0);
  });

  it('end a WAIT soon after its begin if a group was sent behind it before', async () => {
    send();
    inFlight.endWaitSoon();
    await clock.advance(1);
    expect(session.unblocks).toHaveLength(0);
    session.write(0);
    await clock.advance(50);
    expect(session.unblocks).toHaveLength(1);
  });

  it('end two WAITs if a command waits behind both', async () => {
    send();
    session.write(0);
    send();
    inFlight.endWaitSoon();
    await clock.advance(5);
    expect(session.unblocks).toHaveLength(1);
    session.unblocks[0]!(true);
    session.close(0, UNBLOCKED);
    session.write(1);
    await clock.advance(50);
    expect(session.unblocks).toHaveLength(2);
  });

  it('let the last WAIT block if only the WAIT before it has a group behind it', async () => {
    send();
    session.write(0);
    send();
    await clock.advance(5);
    session.unblocks[0]!(true);
    session.close(0, UNBLOCKED);
    session.write(1);
    await clock.advance(50);
    expect(session.unblocks).toHaveLength(1);
  });

  it('take a second group only while the first blocks and can be ended, and no UNBLOCK is under way', async () => {
    send();
    expect(inFlight.takesAnother).toBe(false);
    session.write(0);
    expect(inFlight.takesAnother).toBe(true);
    session.canUnblock = false;
    expect(inFlight.takesAnother).toBe(false);
    session.canUnblock = true;
    inFlight.endWaitSoon();
    await clock.advance(5);
    expect(inFlight.takesAnother).toBe(false);
    session.unblocks[0]!(false);
    expect(inFlight.takesAnother).toBe(true);
    send();
    expect(inFlight.takesAnother).toBe(false);
  });

  it('take an overdue renewal behind two groups, on an event loop that has not read their answers', async () => {
    expect(inFlight.takesOverdue).toBe(false);
    send();
    expect(inFlight.takesOverdue).toBe(true);
    send();
    expect([inFlight.takesAnother, inFlight.takesOverdue]).toEqual([false, true]);
    send();
    expect(inFlight.takesOverdue).toBe(false);
    session.write(0);
    await clock.advance(5);
    session.unblocks[0]!(true);
    session.close(0, UNBLOCKED);
    expect(inFlight.takesOverdue).toBe(true);
    session.canUnblock = false;
    expect(inFlight.takesOverdue).toBe(false);
  });

  it('send nothing while an UNBLOCK is unanswered, and then everything in order', async () => {
    send();
    session.write(0);
    void inFlight.ask([['get', 'key']]);
    expect(session.asked).toBe(1);
    await clock.advance(5);
    expect(session.unblocks).toHaveLength(1);
    session.close(0);
    void inFlight.ask([['get', 'key']]);
    send();
    await clock.advance(50);
    expect({ asked: session.asked, sent: session.sent }).toEqual({ asked: 1, sent: 1 });
    session.unblocks[0]!(false);
    expect({ asked: session.asked, sent: session.sent }).toEqual({ asked: 2, sent: 2 });
  });

  it('answer commands that wait for an UNBLOCK if the session ends', async () => {
    send();
    session.write(0);
    inFlight.endWaitSoon();
    await clock.advance(5);
    const asked = inFlight.ask([['get', 'key']]);
    send();
    inFlight.end();
    await expect(asked).resolves.toEqual(['OK']);
    expect(session.sent).toBe(1);
  });

  it('send no UNBLOCK for scripts without an answer, however late they are', async () => {
    send();
    inFlight.endWaitSoon();
    expect(inFlight.endWait()).toBe(true);
    await clock.advance(900);
    expect(session.unblocks).toHaveLength(0);
    session.write(0);
    await clock.advance(5);
    expect(session.unblocks).toHaveLength(1);
  });

  it('end a WAIT only once, for a verdict and for a group behind it', async () => {
    send();
    session.write(0);
    inFlight.endWaitSoon();
    expect(inFlight.endWait()).toBe(true);
    expect(inFlight.endWait()).toBe(false);
    await clock.advance(50);
    expect(session.unblocks).toHaveLength(1);
    session.unblocks[0]!(true);
    await clock.advance(50);
    expect(session.unblocks).toHaveLength(1);
  });

  it('try again, less and less often, if an UNBLOCK found that the WAIT had not begun', async () => {
    send();
    session.write(0);
    inFlight.endWaitSoon();
    for (let tries = 1; tries <= 8; tries++) {
      await clock.advance(2 ** tries);
      expect(session.unblocks).toHaveLength(tries);
      session.unblocks[tries - 1]!(false);
    }
  });
});
