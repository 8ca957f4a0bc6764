import type { Clock } from '../../../common/clock.js';
import {
  STORE_CLOSED,
  type AcquireOutcome,
  type AcquireRequest,
  type HeldKeys,
  type MasterHealth,
  type OwnedKeys,
  type ReleaseOutcome,
  type Renewal,
  type RenewOutcome,
  type RenewPurpose,
  type Unavailable,
  type WatchOutcome,
} from '../../lock-store.js';
import {
  ROUTE_AGAIN,
  type AcquireCommit,
  type RenewCommit,
  type RouteAgain,
} from '../commit/commit-request.js';
import { GroupCommit } from '../commit/group-commit.js';
import { KeyTracking } from '../commit/key-tracking.js';
import type { Release } from '../commit/release.js';
import { ReleaseOutbox } from '../commit/release-outbox.js';
import type { SlotOwnership } from '../commit/slot-ownership.js';
import type { Connector } from '../connection/connection.js';
import { refusedBy } from '../connection/error-replies.js';
import { evictionPolicyOf } from '../connection/open-session.js';
import { redirectionOf } from '../connection/redirection.js';
import type { Session } from '../connection/session.js';
import type { LockPart } from '../lock-part.js';
import type { KnownReplicas } from '../replication/known-replicas.js';
import { LongLeases } from '../replication/long-leases.js';
import { ReplicaView } from '../replication/replica-view.js';
import { parseReplicationInfo } from '../replication/replication-info.js';
import { SharedAddresses } from '../replication/shared-addresses.js';
import { POLL_TIME } from '../pauses.js';
import { ErrorReply, addressText, type Address, type Command, type Reply } from '../resp.js';
import { RUN_ONCE, scriptsFor } from '../scripts/lock-scripts.js';
import { evictionRisk } from './eviction.js';
import {
  lostConnection,
  MasterConnection,
  type MasterConnectionHost,
  type ReadySession,
} from './master-connection.js';
import type { MasterLocator } from './master-locator.js';
import { MasterReports } from './master-reports.js';
import type { MasterListener, MasterSettings } from './master-settings.js';
import { newAcquireCommit, newRenewCommit } from './new-requests.js';

/** The longest time in ms that closing waits for answers, even if confirmations may take longer. */
const CLOSE_TIMEOUT = 2_000;

export interface MasterAttempt {
  readonly outcome: Promise<AcquireOutcome | RouteAgain>;
  abandon(): void;
}

/** As `Renewal`, but the keys may belong to another master. */
export interface MasterRenewal extends Pick<Renewal, 'whyNot'> {
  readonly outcome: Promise<RenewOutcome | RouteAgain>;
}

/**
 * One master and its replicas, over all sessions of this process with that master. Hands each new
 * session to the group commit and the release outbox, and polls the replicas every second.
 */
export class Master implements MasterConnectionHost {
  private stopPolling: () => void = () => {};
  private readonly shared = new SharedAddresses();
  private readonly connection: MasterConnection;
  private readonly reports: MasterReports;
  private readonly groupCommit: GroupCommit;
  private readonly outbox: ReleaseOutbox;
  private readonly keyTracking: KeyTracking;

  constructor(
    connector: Connector,
    locator: MasterLocator,
    private readonly knownReplicas: KnownReplicas,
    private readonly settings: MasterSettings,
    private readonly listener: MasterListener,
    private readonly clock: Clock,
    private readonly ownership?: SlotOwnership,
  ) {
    const inCluster = ownership !== undefined;
    this.connection = new MasterConnection(connector, locator, inCluster, settings, clock, this);
    this.reports = new MasterReports(
      this.connection,
      inCluster,
      knownReplicas,
      this.shared,
      settings,
      listener,
      clock,
    );
    this.outbox = new ReleaseOutbox(clock, settings, ownership);
    const longest = settings.quarantine === 0 ? Infinity : settings.quarantine + settings.clockSkew;
    const longLeases = new LongLeases(longest, (...lease) => this.reports.longLease(...lease));
    this.groupCommit = new GroupCommit(
      this.outbox,
      longLeases,
      clock,
      this.connection.whyUnavailable,
      ownership,
    );
    this.keyTracking = new KeyTracking((commands) => this.groupCommit.ask(commands));
  }

  open(): void {
    this.connection.open();
  }

  /** Why this new lock is refused, however long its caller waits; undefined if waiting may help. */
  whyInVain({ replicas, waitUntil }: AcquireRequest): AcquireOutcome | undefined {
    const { allowNoReplicas } = this.settings;
    return this.groupCommit.whyInVain({ demand: { policy: replicas, allowNoReplicas }, waitUntil });
  }

  /** The token is not smaller than `floor`. */
  acquire(request: AcquireRequest, part: LockPart, floor = 0): MasterAttempt {
    let commit: AcquireCommit | undefined;
    const outcome = new Promise<AcquireOutcome | RouteAgain>((settle) => {
      commit = newAcquireCommit(request, part, floor, this.settings, this.clock, settle);
      this.groupCommit.acquire(commit);
    });
    return { outcome, abandon: () => commit !== undefined && this.groupCommit.abandon(commit) };
  }

  renew(lock: HeldKeys, part: LockPart, leaseTime: number, purpose: RenewPurpose): MasterRenewal {
    let commit: RenewCommit | undefined;
    const outcome = new Promise<RenewOutcome | RouteAgain>((settle) => {
      commit = newRenewCommit(lock, part, leaseTime, purpose, this.settings, this.clock, settle);
      this.groupCommit.renew(commit);
    });
    if (typeof purpose === 'object')
      void outcome.then(({ kind }) => {
        const { owner, token } = lock;
        const { keys, slot } = part;
        // If the script runs after this, it finds no lock of this owner and writes nothing.
        const release = { keys, slot, scripts: RUN_ONCE, owner, token, cooldown: 0 };
        if (kind === 'expired') void this.outbox.add(release, leaseTime);
      });
    return { outcome, whyNot: () => commit && this.groupCommit.whyNot(commit) };
  }

  release(lock: HeldKeys, part: LockPart, cooldown: number): Promise<ReleaseOutcome> {
    return this.outbox.release(lock, part, cooldown);
  }

  /** Asks Redis to notify this process of changes to the keys from now on. */
  async watch({ owner, limit }: OwnedKeys, { names, keys, slot }: LockPart): Promise<WatchOutcome> {
    const lost = await this.keyTracking.add({ keys, slot, scripts: scriptsFor(limit), owner });
    if (lost === undefined) return { kind: 'unknown' };
    const key = names[lost];
    return key === undefined ? { kind: 'held' } : { kind: 'gone', key };
  }

  /** Takes over a release from another master of the Cluster, or whose slot had no master. */
  takeOver(release: Release): void {
    this.outbox.takeOver(release);
  }

  /**
   * The slots of this master have changed: requests and releases that wait in a slot that left go to
   * the slot's new master.
   */
  onSlotsMoved(): void {
    this.groupCommit.onSlotsMoved();
    this.outbox.onSlotsMoved();
  }

  /** Nothing is queued, awaits an answer, or is to be sent again. */
  get isIdle(): boolean {
    return this.groupCommit.isIdle && this.outbox.isIdle;
  }

  /**
   * Asks on the control connection. Waits for a session if there is none, up to the replica
   * timeout. An error reply that `isExpected` is one of the replies; any other is the outcome.
   */
  async ask(
    commandsFor: (session: Session) => Command[],
    isExpected = ({ code }: ErrorReply): boolean => code === 'WRONGTYPE',
  ): Promise<Reply[] | Unavailable | RouteAgain> {
    const ready = this.connection.ready ?? (await this.connection.nextReady());
    if (ready === undefined) return this.connection.whyUnavailable;
    const { session } = ready;
    try {
      const replies = await session.askControl(commandsFor(session));
      const refusal = replies.find((reply) => reply instanceof ErrorReply && !isExpected(reply));
      const redirection = this.ownership && redirectionOf(refusal);
      if (redirection !== undefined) this.ownership?.onRedirection(redirection);
      if (redirection?.kind === 'moved') return ROUTE_AGAIN;
      return refusal instanceof ErrorReply ? refusedBy(session.address, refusal) : replies;
    } catch (error) {
      return lostConnection(session.address, error);
    }
  }

  /** Asks on the control connection; rejects if there is no session now. */
  async askNow(commands: readonly Command[]): Promise<{ address: Address; replies: Reply[] }> {
    const { ready } = this.connection;
    if (ready === undefined) throw new Error(this.connection.whyUnavailable.reason);
    return { address: ready.session.address, replies: await ready.session.askControl(commands) };
  }

  get isReady(): boolean {
    return this.connection.ready !== undefined;
  }

  get isClosed(): boolean {
    return this.connection.isClosed;
  }

  /**
   * Polls the replicas now; undefined if that fails. Waits for a session if there is none, up to
   * the replica timeout.
   */
  async pollNow(): Promise<ReplicaView | undefined> {
    const ready = this.connection.ready ?? (await this.connection.nextReady());
    return ready !== undefined && (await this.pollReplicas(ready)) ? ready.view : undefined;
  }

  get hearsChanges(): boolean {
    const { ready } = this.connection;
    return ready !== undefined && ready.session.opened.untracked === undefined;
  }

  health(): MasterHealth {
    return this.reports.health(this.groupCommit.commits);
  }

  /** Another server is the master now: the outcome of what was sent to this one is unknown. */
  replaced(): void {
    this.connection.replaced();
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.groupCommit.close(STORE_CLOSED);
    // What the server may have written is taken back while there is still a session.
    if (this.isReady) {
      const until = this.clock.monotonic() + Math.min(this.settings.replicaTimeout, CLOSE_TIMEOUT);
      await this.groupCommit.whenIdle(until);
      await this.outbox.whenIdle(until);
    }
    this.connection.close();
    this.stopPolling();
    this.groupCommit.dispose(STORE_CLOSED);
    this.outbox.close(STORE_CLOSED);
  }

  // --- the session begins and ends

  examine(session: Session): ReadySession {
    const { links } = session.run;
    const view = new ReplicaView(this.knownReplicas, links, this.settings.quarantine, this.shared);
    view.observe(session.opened.firstInfo, session.opened.firstLinkAnswer, this.clock.monotonic());
    return { session, view, misconfigured: evictionRisk(session, this.settings.allowEviction) };
  }

  onReady(ready: ReadySession): void {
    const { session, view, misconfigured } = ready;
    this.reports.sessionReady(ready);
    this.outbox.attach(session);
    this.groupCommit.attach(session, view, misconfigured);
    this.schedulePoll(ready);
    // Notices may have been missed, and the server may hold other data: waiters ask again, and
    // holders renew.
    this.listener.onChange(undefined);
  }

  onSessionEnd(why: Unavailable): void {
    this.stopPolling();
    this.outbox.detach();
    this.groupCommit.detach(why);
    this.reports.sessionEnded(why);
    this.listener.onUnreachable();
  }

  onConnectFailed(why: Unavailable, failures: number): void {
    this.groupCommit.detach(why);
    this.reports.connectFailed(why, failures);
  }

  onNotice(key: string | undefined): void {
    const { keyPrefix } = this.settings;
    if (key === undefined) this.listener.onChange(undefined);
    else if (key.startsWith(keyPrefix)) this.listener.onChange(key.slice(keyPrefix.length));
  }

  // --- polls

  private schedulePoll(ready: ReadySession): void {
    this.stopPolling = this.clock.after(POLL_TIME, () => void this.poll(ready));
  }

  private async poll(ready: ReadySession): Promise<void> {
    if (await this.pollReplicas(ready)) this.schedulePoll(ready);
  }

  /** False if the session has ended. */
  private async pollReplicas(ready: ReadySession): Promise<boolean> {
    const { session, view, misconfigured } = ready;
    const commands: Command[] = [['info', 'replication'], session.run.links.command];
    if (misconfigured !== undefined) commands.push(['info', 'memory']);
    const replies = await session.askControl(commands).catch(() => undefined);
    if (replies === undefined || !session.isLive) return false;
    // Only a new session takes new locks again.
    if (misconfigured !== undefined && evictionPolicyOf(replies[2]) === undefined) {
      session.end(
        new Error(`Redis at ${addressText(session.address)} evicts no lock any more, and is used again`),
      );
      return false;
    }
    const info = parseReplicationInfo(replies[0]);
    if (info === undefined || info.role !== 'master' || info.replid !== session.run.replid) {
      session.end(new Error(`Redis at ${addressText(session.address)} is not the master it was`));
      return false;
    }
    view.observe(info, replies[1], this.clock.monotonic());
    this.reports.replicasPolled(ready);
    this.groupCommit.onReplicasSeen();
    return true;
  }
}
