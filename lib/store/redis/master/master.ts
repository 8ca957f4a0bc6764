import type { Clock } from '../../../common/clock.js';
import type {
  AcquireOutcome,
  AcquireRequest,
  MasterHealth,
  Misconfigured,
  ReleaseOutcome,
  RenewOutcome,
  RenewPurpose,
  Unavailable,
  WatchOutcome,
} from '../../lock-store.js';
import { NO_INDEX } from '../../../common/intrusive-set.js';
import type { Validity } from '../../validity.js';
import {
  SLOT_MOVED,
  type AcquireCommit,
  type Release,
  type RenewCommit,
  type SlotMoved,
} from '../commit/commit-request.js';
import { GroupCommit } from '../commit/group-commit.js';
import type { Connector } from '../connection/connection.js';
import { ErrorReply, addressText, type Address, type Command, type Reply } from '../resp.js';
import type { LocatedMaster, MasterLocator } from './master-locator.js';
import { addressWarnings, type AddressWarning } from '../replication/address-warnings.js';
import type { KnownReplicas } from '../replication/known-replicas.js';
import { LongLeases } from '../replication/long-leases.js';
import { RENEWAL } from '../replication/quorum.js';
import { quarantineText, withoutReplica } from '../commit/messages.js';
import { messageOf, RefusedError, refusedBy, UnsuitableError } from '../connection/error-replies.js';
import { redirectionOf } from '../connection/redirection.js';
import { ReleaseOutbox } from '../commit/release-outbox.js';
import { ReplicaView } from '../replication/replica-view.js';
import { parseReplicationInfo } from '../replication/replication-info.js';
import type { ReleaseCall } from '../scripts/release.js';
import { NoMasterError, openSession } from '../connection/open-session.js';
import type { SlotOwnership } from '../commit/slot-ownership.js';
import type { ServerRun, Session } from '../connection/session.js';
import { SharedAddresses } from '../replication/shared-addresses.js';
import { KeyTracking } from '../commit/key-tracking.js';
import { evictionRisk } from './eviction.js';
import type { MasterListener, MasterSettings } from './master-settings.js';

/** ms that a question beside the commits may take at the least, however impatient the callers are: a server that is only slow is not given up. */
const SHORTEST_CONTROL_TIMEOUT = 250;
/** ms between two polls of the replicas. */
const POLL_TIME = 1_000;
/** ms that closing waits for an answer at the most, however long confirmations may take. */
const CLOSE_TIMEOUT = 2_000;
/** ms before the next try to connect: doubled each time, and each time only a random part of it, so that many processes do not come at once. */
const FIRST_RECONNECT_PAUSE = 50;
const LONGEST_RECONNECT_PAUSE = 500;
/** ms after which a replica that nobody names is no new one: Sentinel asks a master for its replicas every 10 s. */
const NAMING_TIME = 30_000;

/** Where the keys of a request are in a Cluster, and the least that its token may be. */
export interface SlotPlace {
  readonly slot: number | undefined;
  readonly floor: number;
}
const NOWHERE: SlotPlace = { slot: undefined, floor: 0 };

export interface MasterAttempt {
  readonly outcome: Promise<AcquireOutcome | SlotMoved>;
  abandon(): void;
}

type State =
  /** `why` the last try failed, where there was one. */
  | {
      readonly kind: 'connecting';
      readonly why: Unavailable | undefined;
      readonly attempt: AbortController;
    }
  | {
      readonly kind: 'ready';
      readonly session: Session;
      readonly view: ReplicaView;
      readonly misconfigured: Misconfigured | undefined;
    }
  | { readonly kind: 'down'; readonly why: Unavailable; readonly cancelRetry: () => void }
  | { readonly kind: 'closed' };

/**
 * One master and its replicas, over all the sessions that this process has with it: connects, polls the replicas every second, and hands
 * each new session to the group commit and the releases.
 */
export class Master {
  private state: State = { kind: 'connecting', why: undefined, attempt: new AbortController() };
  private lastRun: ServerRun | undefined;
  private located: LocatedMaster | undefined;
  private failures = 0;
  private stopPolling: () => void = () => {};
  private sessionWaiters = new Set<(session: Session | undefined) => void>();
  private wasQuarantined = false;
  private wasAlone = false;
  private readonly shared = new SharedAddresses();
  private addressWarnings: readonly AddressWarning[] = [];
  private readonly reportedWarnings = new Set<AddressWarning['code']>();
  private strangersSince: number | undefined;
  private raisedTo = 0;
  private readonly groupCommit: GroupCommit;
  private readonly outbox: ReleaseOutbox;
  private readonly keyTracking: KeyTracking;

  constructor(
    private readonly connector: Connector,
    private readonly locator: MasterLocator,
    private readonly knownReplicas: KnownReplicas,
    private readonly settings: MasterSettings,
    private readonly listener: MasterListener,
    private readonly clock: Clock,
    private readonly ownership?: SlotOwnership,
  ) {
    const notYet: Unavailable = { kind: 'unavailable', reason: 'Redis is not connected yet.' };
    this.outbox = new ReleaseOutbox(clock, settings.replicaTimeout + 1_000, ownership);
    const longest = settings.quarantine === 0 ? Infinity : settings.quarantine + settings.clockSkew;
    const longLeases = new LongLeases(longest, (...lease) => this.reportLongLease(...lease));
    this.groupCommit = new GroupCommit(this.outbox, longLeases, clock, notYet, ownership);
    this.keyTracking = new KeyTracking((commands) => this.groupCommit.ask(commands));
  }

  open(): void {
    void this.connect();
  }

  /** In a Cluster all keys are of one slot. The token is not smaller than `floor`. */
  acquire(request: AcquireRequest, { slot, floor }: SlotPlace = NOWHERE): MasterAttempt {
    let commit: AcquireCommit | undefined;
    const outcome = new Promise<AcquireOutcome | SlotMoved>((settle) => {
      const { leaseTime, replicaTimeout, waitUntil } = request;
      const window = Math.min(replicaTimeout, leaseTime / 2);
      const keys = this.redisKeys(request.keys);
      commit = {
        kind: 'acquire',
        names: request.keys,
        keys,
        slot,
        floor,
        owner: request.owner,
        leaseTime,
        ttl: this.ttlOf(leaseTime),
        demand: { policy: request.replicas, allowNoReplicas: this.settings.allowNoReplicas },
        window,
        waitUntil,
        endsAt: Math.max(waitUntil, this.clock.monotonic() + window),
        order: 0,
        stage: 'queued',
        mayBeWritten: false,
        abandoned: false,
        granted: false,
        group: undefined,
        token: 0,
        isAlone: false,
        openIndex: NO_INDEX,
        pendingIndex: NO_INDEX,
        verdictBy: undefined,
        settle,
      };
      this.groupCommit.acquire(commit);
    });
    return { outcome, abandon: () => commit !== undefined && this.groupCommit.abandon(commit) };
  }

  renew(
    keys: readonly string[],
    owner: string,
    leaseTime: number,
    heldUntil: Validity,
    purpose: RenewPurpose,
    slot?: number,
  ): Promise<RenewOutcome | SlotMoved> {
    return new Promise((settle) => {
      const redisKeys = this.redisKeys(keys);
      const request: RenewCommit = {
        kind: 'renew',
        names: keys,
        keys: redisKeys,
        slot,
        owner,
        leaseTime,
        ttl: this.ttlOf(leaseTime),
        demand: RENEWAL,
        window: heldUntil.remaining(this.clock),
        endsAt: 0,
        order: 0,
        stage: 'queued',
        mayBeWritten: false,
        group: undefined,
        token: 0,
        isAlone: false,
        openIndex: NO_INDEX,
        pendingIndex: NO_INDEX,
        verdictBy: undefined,
        heldUntil,
        purpose,
        refused: undefined,
        settle,
      };
      if (purpose === 'cooldown') {
        const cooldownUntil = this.clock.monotonic() + leaseTime;
        // The key stays busy until then and no longer, whenever the request is sent.
        const ttl = (): number => Math.max(1, Math.ceil(cooldownUntil - this.clock.monotonic()));
        Object.defineProperty(request, 'ttl', { get: ttl });
      }
      this.groupCommit.renew(request);
    });
  }

  release(call: ReleaseCall, leaseTime: number, slot?: number): Promise<ReleaseOutcome> {
    const leaseLeft = Math.max(leaseTime, call.cooldown) + this.settings.clockSkew;
    const { owner, token, cooldown } = call;
    return this.outbox.add({ keys: this.redisKeys(call.keys), owner, token, cooldown }, slot, leaseLeft);
  }

  /** From now on changes of the keys are told of. */
  async watch(keys: readonly string[], owner: string, slot?: number): Promise<WatchOutcome> {
    const lost = await this.keyTracking.add({ keys: this.redisKeys(keys), owner, slot });
    if (lost === undefined) return { kind: 'unknown' };
    const key = keys[lost];
    return key === undefined ? { kind: 'held' } : { kind: 'gone', key };
  }

  /** A release that another master of the Cluster was asked first. */
  takeOver(release: Release): void {
    this.outbox.takeOver(release);
  }

  /** The slots of this master have changed: what waits in one that left goes to its new master. */
  onSlotsMoved(): void {
    this.groupCommit.onSlotsMoved();
    this.outbox.onSlotsMoved();
  }

  /** Nothing is queued, out, or to be sent again. */
  get isIdle(): boolean {
    return this.groupCommit.isIdle && this.outbox.isIdle;
  }

  /** Asks on the control connection, waiting for one for a while where there is none. */
  async ask(commandsFor: (session: Session) => Command[]): Promise<Reply[] | Unavailable | SlotMoved> {
    const session = this.state.kind === 'ready' ? this.state.session : await this.nextSession();
    if (session === undefined) return this.unavailable();
    try {
      const replies = await session.askControl(commandsFor(session));
      const refusal = replies.find((reply) => reply instanceof ErrorReply && reply.code !== 'WRONGTYPE');
      const redirection = this.ownership && redirectionOf(refusal);
      if (redirection !== undefined) this.ownership?.onRedirection(redirection);
      if (redirection?.kind === 'moved') return SLOT_MOVED;
      return refusal instanceof ErrorReply ? refusedBy(session.address, refusal) : replies;
    } catch (error) {
      return lostConnection(session.address, error);
    }
  }

  /** The same where there is a session now; rejects where there is none. */
  async askNow(commands: readonly Command[]): Promise<{ address: Address; replies: Reply[] }> {
    if (this.state.kind !== 'ready') throw new Error(this.unavailable().reason);
    const { session } = this.state;
    return { address: session.address, replies: await session.askControl(commands) };
  }

  get isReady(): boolean {
    return this.state.kind === 'ready';
  }

  /** Polls the replicas now, waiting for a session for a while where there is none; undefined if it cannot. */
  async pollNow(): Promise<ReplicaView | undefined> {
    if (this.state.kind !== 'ready') await this.nextSession();
    if (this.state.kind !== 'ready') return undefined;
    const { session, view } = this.state;
    return (await this.pollReplicas(session, view)) ? view : undefined;
  }

  get hearsChanges(): boolean {
    return this.state.kind === 'ready' && this.state.session.opened.untracked === undefined;
  }

  health(): MasterHealth {
    const address = this.located === undefined ? this.locator.whereabouts : addressText(this.located.address);
    if (this.state.kind !== 'ready') {
      return {
        address,
        connected: false,
        reason: this.unavailable().reason,
        replicas: [],
        quarantine: 0,
        tracking: false,
        commits: this.groupCommit.commits,
      };
    }
    const { session, view, misconfigured } = this.state;
    const quarantine = view.quarantineLeft(this.clock.monotonic());
    const replicas = view.health();
    const confirming = replicas.filter((replica) => replica.acknowledged).length;
    const { replicas: policy, allowNoReplicas } = this.settings;
    const required = view.required({ policy, allowNoReplicas });
    const reason =
      misconfigured?.reason ??
      (quarantine > 0 ? `${this.where}: ${quarantineText(quarantine)}` : undefined) ??
      (confirming < required ? this.lackOf(view, confirming, required) : undefined);
    return {
      address,
      connected: true,
      ...(reason !== undefined && { reason }),
      ...(this.addressWarnings.length > 0 && {
        warnings: this.addressWarnings.map(({ message }) => message),
      }),
      replicas,
      quarantine,
      tracking: session.opened.untracked === undefined,
      commits: this.groupCommit.commits,
    };
  }

  /** Another server is the master now: what is pending here is unknown. */
  moved(): void {
    if (this.state.kind === 'ready') this.state.session.end(new Error('another master is in charge'));
    else if (this.state.kind === 'down') {
      this.state.cancelRetry();
      void this.connect();
    } else if (this.state.kind === 'connecting' && this.located !== undefined) {
      // The former master may hang, and the next try must not wait for it.
      this.state.attempt.abort(new Error('another master is in charge'));
      void this.connect();
    }
  }

  async close(): Promise<void> {
    if (this.state.kind === 'closed') return;
    const why: Unavailable = { kind: 'unavailable', reason: 'The lock store is closed.' };
    this.groupCommit.close(why);
    // What the server may have written is given back while there is somebody to give it back to.
    if (this.state.kind === 'ready') {
      const until = this.clock.monotonic() + Math.min(this.settings.replicaTimeout, CLOSE_TIMEOUT);
      await this.groupCommit.settled(until);
      await this.outbox.idle(until);
    }
    const before = this.state;
    this.state = { kind: 'closed' };
    if (before.kind === 'ready') before.session.end(new Error('closed'));
    if (before.kind === 'down') before.cancelRetry();
    if (before.kind === 'connecting') before.attempt.abort(new Error('closed'));
    this.stopPolling();
    this.groupCommit.dispose(why);
    this.outbox.close(why);
    this.notifyWaiters(undefined);
  }

  // --- sessions

  private async connect(): Promise<void> {
    const why = this.state.kind === 'down' ? this.state.why : undefined;
    const attempt = new AbortController();
    const { signal } = attempt;
    this.state = { kind: 'connecting', why, attempt };
    try {
      this.located = undefined;
      const located = await this.locator.locate();
      signal.throwIfAborted();
      this.located = located;
      const session = await openSession(
        {
          connector: this.connector,
          address: located.address,
          inCluster: this.ownership !== undefined,
          previous: this.lastRun,
          onNotice: (key) => this.onNotice(key),
          clock: this.clock,
          controlTimeout: Math.max(SHORTEST_CONTROL_TIMEOUT, this.settings.replicaTimeout),
        },
        signal,
      );
      // It may have ended before anybody could listen for its end.
      if (!session.isLive) throw new Error('the connection was lost while it was set up');
      if (signal.aborted) session.end(signal.reason);
      else if (!this.locator.isCurrent(located.identity)) {
        session.end(new Error('moved'));
        throw new Error('another master took over while it was being connected to');
      } else this.begin(session);
    } catch (error) {
      if (!signal.aborted) this.retryLater(this.whyDown(error));
    }
  }

  private begin(session: Session): void {
    const view = new ReplicaView(
      this.knownReplicas,
      session.run.links,
      this.settings.quarantine,
      this.shared,
    );
    view.observe(session.opened.firstInfo, session.opened.firstLinkAnswer, this.clock.monotonic());
    this.lastRun = session.run;
    this.failures = 0;
    const misconfigured = evictionRisk(session, this.settings.allowEviction);
    this.state = { kind: 'ready', session, view, misconfigured };
    this.reportSession(session, misconfigured);
    this.reportAlone(view);
    this.reportMajority(view);
    session.onEnd((cause) => this.onSessionEnd(session, cause));
    this.outbox.attach(session);
    this.groupCommit.attach(session, view, misconfigured);
    this.notifyWaiters(session);
    this.schedulePoll(session, view);
    // Notices may have been missed, and the data may be another: whoever waits asks again, whoever holds renews.
    this.listener.onChange(undefined);
  }

  private onSessionEnd(session: Session, cause: unknown): void {
    if (this.state.kind !== 'ready' || this.state.session !== session) return;
    this.stopPolling();
    const why = lostConnection(session.address, cause);
    this.outbox.detach();
    this.groupCommit.detach(why);
    this.listener.onReport('warn', 'connection-lost', why.reason);
    this.retryLater(why);
    this.listener.onLost();
  }

  private retryLater(why: Unavailable): void {
    this.groupCommit.detach(why);
    if (this.failures === 1)
      this.listener.onReport('error', 'unreachable', `${why.reason} Locks are refused until that is mended.`);
    const limit = Math.min(LONGEST_RECONNECT_PAUSE, FIRST_RECONNECT_PAUSE * 2 ** this.failures++);
    const cancelRetry = this.clock.after(Math.random() * limit, () => void this.connect());
    this.state = { kind: 'down', why, cancelRetry };
    if (why.permanent === true) this.notifyWaiters(undefined);
  }

  private whyDown(error: unknown): Unavailable {
    if (error instanceof RefusedError) return refusedBy(error.address, error.reply);
    const isMisplaced = error instanceof NoMasterError && this.locator.isFixed && this.lastRun === undefined;
    return {
      kind: 'unavailable',
      reason: `${this.where} cannot be used: ${messageOf(error)}.`,
      cause: error,
      ...((isMisplaced || error instanceof UnsuitableError) && { permanent: true }),
    };
  }

  get isClosed(): boolean {
    return this.state.kind === 'closed';
  }

  // --- polls

  private schedulePoll(session: Session, view: ReplicaView): void {
    this.stopPolling = this.clock.after(POLL_TIME, () => void this.poll(session, view));
  }

  private async poll(session: Session, view: ReplicaView): Promise<void> {
    if (await this.pollReplicas(session, view)) this.schedulePoll(session, view);
  }

  /** False if the session has ended. */
  private async pollReplicas(session: Session, view: ReplicaView): Promise<boolean> {
    const replies = await session
      .askControl([['info', 'replication'], session.run.links.question])
      .catch(() => undefined);
    if (replies === undefined || !session.isLive) return false;
    const info = parseReplicationInfo(replies[0]);
    if (info === undefined || info.role !== 'master' || info.replid !== session.run.replid) {
      session.end(new Error(`Redis at ${addressText(session.address)} is not the master it was`));
      return false;
    }
    view.observe(info, replies[1], this.clock.monotonic());
    this.reportQuarantine(view);
    this.reportAlone(view);
    this.reportMajority(view);
    this.reportAddresses();
    this.groupCommit.pump();
    return true;
  }

  private onNotice(key: string | undefined): void {
    if (key === undefined) this.listener.onChange(undefined);
    else if (key.startsWith(this.settings.keyPrefix))
      this.listener.onChange(key.slice(this.settings.keyPrefix.length));
  }

  // --- reports

  private reportSession(session: Session, misconfigured: Misconfigured | undefined): void {
    const where = `Redis at ${addressText(session.address)}`;
    if (session.opened.untracked !== undefined) {
      this.listener.onReport(
        'warn',
        'tracking-refused',
        `${where} refuses client tracking (${session.opened.untracked.message}): waiters and holders are told of changes late, by timers.`,
      );
    }
    if (misconfigured !== undefined) this.listener.onReport('error', 'eviction', misconfigured.reason);
  }

  /** Whoever starts with a server of its own has to be told what to do. A known replica that is merely away still counts. */
  private reportAlone(view: ReplicaView): void {
    if (view.replicaCount > 0 || this.settings.allowNoReplicas || this.wasAlone) return;
    this.wasAlone = true;
    this.listener.onReport('error', 'no-replica', withoutReplica(this.where));
  }

  /** Why new locks are refused though the master answers. */
  private lackOf(view: ReplicaView, confirming: number, required: number): string {
    const known = view.replicaCount;
    if (known === 0 && !this.settings.allowNoReplicas) return withoutReplica(this.where);
    const lack = `${confirming} of ${known} known replicas answer, and ${required} must confirm: new locks are refused.`;
    return required > known ? `${lack} Attach what is missing, or set replicas to ${known}.` : lack;
  }

  private get where(): string {
    return this.located === undefined ? 'Redis' : `Redis at ${addressText(this.located.address)}`;
  }

  /** A number of replicas that is no majority is raised to it: its owner should know. */
  private reportMajority(view: ReplicaView): void {
    const { replicas } = this.settings;
    const needed = view.required(RENEWAL);
    if (typeof replicas !== 'number' || replicas >= needed || this.raisedTo === needed) return;
    this.raisedTo = needed;
    this.listener.onReport(
      'warn',
      'replicas-raised',
      `replicas: ${replicas} is less than a majority of the servers needs: ${needed} ${needed === 1 ? 'replica' : 'replicas'} must confirm.` +
        (replicas === 0
          ? ' To do without any, use a server without replicas and allowNoReplicas: true.'
          : ''),
    );
  }

  private reportAddresses(): void {
    const now = this.clock.monotonic();
    const { oddity } = this.knownReplicas;
    if ((oddity?.strangers.length ?? 0) === 0) this.strangersSince = undefined;
    else this.strangersSince ??= now;
    const areNew = this.strangersSince === undefined || now - this.strangersSince < NAMING_TIME;
    this.addressWarnings = addressWarnings(
      this.where,
      this.ownership !== undefined,
      this.shared.shared,
      oddity && { ...oddity, ...(areNew && { strangers: [] }) },
    );
    for (const { code, message } of this.addressWarnings) {
      if (this.reportedWarnings.has(code)) continue;
      this.reportedWarnings.add(code);
      this.listener.onReport('warn', code, message);
    }
  }

  /** Another program uses longer leases than this one was told of. */
  private reportLongLease(key: string, owner: string, remainingTime: number): void {
    const { quarantine } = this.settings;
    this.listener.onReport(
      'warn',
      'long-lease',
      `Key '${key}' is held by ${owner} for ${Math.round(remainingTime / 1000)} s more, longer than the quarantine (${quarantine} ms) covers: ` +
        'after a fail-over it could be granted while its holder still believes in it. Set quarantine to the longest lease of any program on this Redis.',
    );
  }

  private reportQuarantine(view: ReplicaView): void {
    const left = view.quarantineLeft(this.clock.monotonic());
    if (left > 0 && !this.wasQuarantined) {
      this.listener.onReport('warn', 'quarantine', `${this.where}: ${quarantineText(left)}`);
    } else if (left === 0 && this.wasQuarantined) {
      this.listener.onReport(
        'log',
        'quarantine-over',
        'The quarantine of the replicas is over: new locks are granted again.',
      );
    }
    this.wasQuarantined = left > 0;
  }

  // --- waiting for a session

  private nextSession(): Promise<Session | undefined> {
    const { state } = this;
    const why = state.kind === 'down' || state.kind === 'connecting' ? state.why : undefined;
    if (state.kind === 'closed' || why?.permanent === true) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const notify = (session: Session | undefined): void => {
        stopClock();
        this.sessionWaiters.delete(notify);
        resolve(session);
      };
      const stopClock = this.clock.after(this.settings.replicaTimeout, () => notify(undefined));
      this.sessionWaiters.add(notify);
    });
  }

  private notifyWaiters(session: Session | undefined): void {
    for (const notify of this.sessionWaiters) notify(session);
  }

  private unavailable(): Unavailable {
    if ((this.state.kind === 'down' || this.state.kind === 'connecting') && this.state.why !== undefined)
      return this.state.why;
    return {
      kind: 'unavailable',
      reason: this.isClosed ? 'The lock store is closed.' : 'Redis is not connected yet.',
    };
  }

  /** ms that a key lives: longer than its lease, for the clocks of master and replicas may differ. */
  private ttlOf(leaseTime: number): number {
    return Math.ceil(leaseTime + this.settings.clockSkew);
  }

  private redisKeys(keys: readonly string[]): string[] {
    return keys.map((key) => this.settings.keyPrefix + key);
  }
}

function lostConnection(address: Address, cause: unknown): Unavailable {
  return {
    kind: 'unavailable',
    reason: `The connection to Redis at ${addressText(address)} was lost: ${messageOf(cause)}.`,
    cause,
  };
}
