import type { Clock } from '../../../common/clock.js';
import { instantOf, type Instant } from '../../validity.js';
import { batchesOf, type Batch } from '../scripts/script-batches.js';
import type { AcquireCommit, SentGroup, CommitRequest, RenewCommit } from './commit-request.js';
import { ErrorReply, type Command, type Reply } from '../resp.js';
import { parseReplicationInfo, type ReplicationInfo } from '../replication/replication-info.js';
import type { AcquireAnswer } from '../scripts/acquire.js';
import type { RenewAnswer } from '../scripts/renew.js';
import type { GroupScript } from '../scripts/script.js';
import type { Session } from '../connection/session.js';

export type ScriptAnswer =
  | AcquireAnswer
  | RenewAnswer
  | { readonly kind: 'refused'; readonly error: ErrorReply }
  /** The batch was refused as a whole, and carried other requests too. */
  | { readonly kind: 'refused-together'; readonly error: ErrorReply };

/** The events of a group, in the order in which they happen. */
export interface CommitGroupListener {
  onAnswer(request: CommitRequest, answer: ScriptAnswer): void;
  /** The scripts have run and WAIT begins. `info`: the reply to INFO right behind the scripts. */
  onWritten(info: ReplicationInfo | undefined): void;
  /**
   * The whole group is answered. `count`: the reply to WAIT; `info` and `linkAnswer`: the replies
   * behind WAIT.
   */
  onCompleted(info: ReplicationInfo | undefined, linkAnswer: Reply, count: Reply): void;
}

/**
 * A pipeline on the commit connection: the scripts of a group, INFO, WAIT, INFO, and the command
 * that tells the age of the links. The answers of the scripts are used at once. The two INFOs around WAIT
 * show which replicas have acknowledged what the scripts wrote.
 */
export class CommitGroup implements SentGroup {
  readonly start: Instant;
  /** The master's replication offset right after the scripts. */
  offset: number | undefined;
  /** The monotonic instant at which the offset was known, and WAIT began. */
  writtenAt: number | undefined;
  /** The group's WAIT is to be ended for a verdict. */
  isEnding = false;
  /** Commands were sent, or wait to be sent, behind the group. */
  isFollowed = false;

  constructor(
    readonly requests: readonly CommitRequest[],
    private readonly clock: Clock,
  ) {
    this.start = instantOf(clock);
  }

  /** `need` replicas end the WAIT early, `slice` ms at the latest. */
  send(
    session: Session,
    need: number,
    slice: number,
    listener: CommitGroupListener & { onWaited(count: Reply): void },
  ): void {
    const commands: Command[] = [];
    const onReply: ((reply: Reply) => void)[] = [];
    const addBatch = <C extends CommitRequest>(
      { items }: Batch<C>,
      script: GroupScript<C, AcquireAnswer | RenewAnswer>,
    ): void => {
      commands.push(session.groupCommand(script, items));
      onReply.push((reply) => this.answer(session, script, items, reply, listener));
    };
    for (const batch of batchesOf(this.requests.filter(isRenewal))) addBatch(batch, batch.scripts.renew);
    for (const batch of batchesOf(this.requests.filter(isAcquisition)))
      addBatch(batch, batch.scripts.acquire);
    let count: Reply = null;
    let info: ReplicationInfo | undefined;
    commands.push(
      ['info', 'replication'],
      ['wait', need, slice],
      ['info', 'replication'],
      session.run.links.command,
    );
    onReply.push(
      (reply) => {
        const first = parseReplicationInfo(reply);
        this.offset = first?.offset;
        this.writtenAt = this.clock.monotonic();
        listener.onWritten(first);
      },
      (reply) => {
        count = reply;
        listener.onWaited(reply);
      },
      (reply) => (info = parseReplicationInfo(reply)),
      (reply) => listener.onCompleted(info, reply, count),
    );
    session.sendCommit(commands, (reply, index) => onReply[index]?.(reply));
  }

  private answer<C extends CommitRequest>(
    session: Session,
    script: GroupScript<C, AcquireAnswer | RenewAnswer>,
    batch: readonly C[],
    reply: Reply,
    listener: CommitGroupListener,
  ): void {
    if (reply instanceof ErrorReply && reply.code === 'NOSCRIPT') session.forgetScript(script);
    batch.forEach((request, index) => {
      if (Array.isArray(reply)) listener.onAnswer(request, script.decode(reply[index]));
      else {
        const error =
          reply instanceof ErrorReply ? reply : new ErrorReply(`ERR unexpected reply ${String(reply)}`);
        listener.onAnswer(request, { kind: batch.length > 1 ? 'refused-together' : 'refused', error });
      }
    });
  }
}

function isRenewal(request: CommitRequest): request is RenewCommit {
  return request.kind === 'renew';
}

function isAcquisition(request: CommitRequest): request is AcquireCommit {
  return request.kind === 'acquire';
}
