import type { Clock } from '../clock.js';
import { instantOf, type Instant } from '../validity.js';
import { batchesOf } from './batches.js';
import type { Carrier, CommitRequest } from './commit-request.js';
import { ErrorReply, type Command, type Reply } from './connection.js';
import { parseReplicationInfo, type ReplicationInfo } from './replication-info.js';
import { acquireScript, type AcquireAnswer } from './scripts/acquire.js';
import { renewScript, type RenewAnswer } from './scripts/renew.js';
import type { Script } from './scripts/script.js';
import type { Session } from './session.js';

export type Answer = AcquireAnswer | RenewAnswer | { readonly kind: 'refused'; readonly error: ErrorReply };

/** What the lane wants to hear of a round, in the order in which it happens. */
export interface RoundListener {
  onAnswer(request: CommitRequest, answer: Answer): void;
  /** The scripts have run and WAIT begins. `info` is what INFO said right after them. */
  onWritten(info: ReplicationInfo | undefined): void;
  /** WAIT has ended with `count`; `info` and `linkAnswer` are what the server said then. */
  onClosed(info: ReplicationInfo | undefined, linkAnswer: Reply, count: Reply): void;
}

/**
 * One pipeline on the commit connection: the scripts of a group, INFO, WAIT, INFO, and the question for the age of the links. The scripts'
 * answers are good at once; the two INFOs around WAIT say which replicas have acknowledged what the scripts wrote.
 */
export class Round implements Carrier {
  readonly start: Instant;
  /** The master's replication offset right after the scripts. */
  offset: number | undefined;
  /** The monotonic instant at which that was known, and WAIT began. */
  writtenAt: number | undefined;
  /** Its WAIT was told to end. */
  isEnding = false;

  constructor(
    readonly requests: readonly CommitRequest[],
    private readonly ttlMargin: number,
    private readonly clock: Clock,
  ) {
    this.start = instantOf(clock);
  }

  /** `need` replicas end the WAIT early, `slice` ms at the latest. */
  send(session: Session, need: number, slice: number, listener: RoundListener): void {
    const batches = [...this.batchesOfKind('renew'), ...this.batchesOfKind('acquire')];
    const commands = batches.map((batch) => this.scriptCall(session, batch));
    const onReply: ((reply: Reply) => void)[] = batches.map(
      (batch) => (reply) => this.answer(session, batch, reply, listener),
    );
    let count: Reply = null;
    let info: ReplicationInfo | undefined;
    commands.push(
      ['info', 'replication'],
      ['wait', need, slice],
      ['info', 'replication'],
      session.run.links.question,
    );
    onReply.push(
      (reply) => {
        const first = parseReplicationInfo(reply);
        this.offset = first?.offset;
        this.writtenAt = this.clock.monotonic();
        listener.onWritten(first);
      },
      (reply) => (count = reply),
      (reply) => (info = parseReplicationInfo(reply)),
      (reply) => listener.onClosed(info, reply, count),
    );
    session.sendCommit(commands, (reply, index) => onReply[index]?.(reply));
  }

  private batchesOfKind(kind: CommitRequest['kind']): CommitRequest[][] {
    return batchesOf(this.requests.filter((request) => request.kind === kind));
  }

  private scriptCall(session: Session, batch: readonly CommitRequest[]): Command {
    const keys: string[] = [];
    const args: (string | number)[] = [];
    for (const request of batch) {
      const { keys: itsKeys, owner } = request;
      const ttl = Math.ceil(request.leaseTime + this.ttlMargin);
      keys.push(...itsKeys);
      args.push(
        ...(request.kind === 'acquire'
          ? acquireScript.args({ keys: itsKeys, owner, ttl, floor: request.floor })
          : renewScript.args({ keys: itsKeys, owner, ttl, purpose: request.purpose })),
      );
    }
    return session.scriptCommand(scriptOf(batch), keys, args);
  }

  private answer(
    session: Session,
    batch: readonly CommitRequest[],
    reply: Reply,
    listener: RoundListener,
  ): void {
    if (reply instanceof ErrorReply && reply.code === 'NOSCRIPT') session.forgetScript(scriptOf(batch));
    batch.forEach((request, index) => {
      if (!Array.isArray(reply)) {
        const error =
          reply instanceof ErrorReply ? reply : new ErrorReply(`ERR unexpected reply ${String(reply)}`);
        listener.onAnswer(request, { kind: 'refused', error });
      } else {
        const script = request.kind === 'acquire' ? acquireScript : renewScript;
        listener.onAnswer(request, script.answer(reply[index]));
      }
    });
  }
}

function scriptOf([request]: readonly CommitRequest[]): Script {
  return request?.kind === 'renew' ? renewScript.script : acquireScript.script;
}
