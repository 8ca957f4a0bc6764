import type { Clock } from '../../../common/clock.js';
import { Waiters } from '../../../common/waiters.js';
import { STORE_CLOSED, type Misconfigured, type Unavailable } from '../../lock-store.js';
import type { Connector } from '../connection/connection.js';
import {
  isUnknownHost,
  messageOf,
  RefusedError,
  refusedBy,
  UnsuitableError,
} from '../connection/error-replies.js';
import { NoMasterError, openSession } from '../connection/open-session.js';
import type { ServerRun, Session } from '../connection/session.js';
import { retryPause } from '../pauses.js';
import type { ReplicaView } from '../replication/replica-view.js';
import { addressText, type Address } from '../resp.js';
import type { LocatedMaster, MasterLocator } from './master-locator.js';
import type { MasterSettings } from './master-settings.js';

/**
 * The shortest silence in ms after which the control connection is given up, even if callers
 * accept less. A server that is only slow is not given up.
 */
const SHORTEST_CONTROL_SILENCE = 250;

/** A session that can be used, and what is known of the server. */
export interface ReadySession {
  readonly session: Session;
  readonly view: ReplicaView;
  /**
   * Why this server must not be trusted with new locks; undefined if nothing speaks against that.
   */
  readonly misconfigured: Misconfigured | undefined;
}

/** What a connection asks the master, and reports there. */
export interface MasterConnectionHost {
  /** Examines the server of a new session, before the session is used. */
  examine(session: Session): ReadySession;
  onReady(ready: ReadySession): void;
  /** The session ended; the next try to connect is scheduled. */
  onSessionEnd(why: Unavailable): void;
  /** A try to connect failed: the n-th failure in a row, and the end of a session is the first. */
  onConnectFailed(why: Unavailable, failures: number): void;
  /** A key changed; undefined if any key may have changed. */
  onNotice(key: string | undefined): void;
}

type State =
  /** `why`: the reason of the failure before this try, if there was one. */
  | {
      readonly kind: 'connecting';
      readonly why: Unavailable | undefined;
      readonly attempt: AbortController;
    }
  | ({ readonly kind: 'ready' } & ReadySession)
  | { readonly kind: 'down'; readonly why: Unavailable; readonly cancelRetry: () => void }
  | { readonly kind: 'closed' };

/**
 * Keeps a session with the master of one set of servers: locates the master, connects, and connects
 * again after a failure. Knows who waits for a session, and why there is none.
 */
export class MasterConnection {
  private state: State = { kind: 'connecting', why: undefined, attempt: new AbortController() };
  private lastRun: ServerRun | undefined;
  private located: LocatedMaster | undefined;
  private failures = 0;
  private readonly sessionWaiters: Waiters;

  constructor(
    private readonly connector: Connector,
    private readonly locator: MasterLocator,
    private readonly inCluster: boolean,
    private readonly settings: Pick<MasterSettings, 'replicaTimeout'>,
    private readonly clock: Clock,
    private readonly host: MasterConnectionHost,
  ) {
    this.sessionWaiters = new Waiters(clock);
  }

  open(): void {
    void this.connect();
  }

  /** The session, if there is one now. */
  get ready(): ReadySession | undefined {
    return this.state.kind === 'ready' ? this.state : undefined;
  }

  get isClosed(): boolean {
    return this.state.kind === 'closed';
  }

  /** Waits for a session, up to the replica timeout; undefined if there is none by then. */
  async nextReady(): Promise<ReadySession | undefined> {
    if (this.isClosed || this.failure?.permanent === true) return undefined;
    await this.sessionWaiters.next(this.settings.replicaTimeout);
    return this.ready;
  }

  /** Why there is no session. */
  get whyUnavailable(): Unavailable {
    if (this.isClosed) return STORE_CLOSED;
    return this.failure ?? { kind: 'unavailable', reason: 'Redis is not connected yet.' };
  }

  /** Where the master is, or where the locator searches for it. */
  get address(): string {
    return this.located === undefined ? this.locator.whereabouts : addressText(this.located.address);
  }

  /** What messages call the master. */
  get name(): string {
    return this.located === undefined ? 'Redis' : `Redis at ${addressText(this.located.address)}`;
  }

  /** Another server is the master now. The outcome of commands that were sent is unknown. */
  replaced(): void {
    if (this.state.kind === 'ready') this.state.session.end(new Error('another master is in charge'));
    else if (this.state.kind === 'down') {
      this.state.cancelRetry();
      void this.connect();
    } else if (this.state.kind === 'connecting' && this.located !== undefined) {
      // The former master may hang, and the next try must not wait for that server.
      this.state.attempt.abort(new Error('another master is in charge'));
      void this.connect();
    }
  }

  close(): void {
    const before = this.state;
    this.state = { kind: 'closed' };
    if (before.kind === 'ready') before.session.end(new Error('closed'));
    if (before.kind === 'down') before.cancelRetry();
    if (before.kind === 'connecting') before.attempt.abort(new Error('closed'));
    this.sessionWaiters.notify();
  }

  private async connect(): Promise<void> {
    const attempt = new AbortController();
    const { signal } = attempt;
    this.state = {
      kind: 'connecting',
      why: this.state.kind === 'down' ? this.state.why : undefined,
      attempt,
    };
    try {
      this.located = undefined;
      const located = await this.locator.locate();
      signal.throwIfAborted();
      this.located = located;
      const session = await openSession(
        {
          connector: this.connector,
          address: located.address,
          inCluster: this.inCluster,
          previous: this.lastRun,
          onNotice: (key) => this.host.onNotice(key),
          clock: this.clock,
          controlSilence: Math.max(SHORTEST_CONTROL_SILENCE, this.settings.replicaTimeout),
        },
        signal,
      );
      // The session may have ended before a listener for the end was set.
      if (!session.isLive) throw new Error('the connection was lost while it was set up');
      if (signal.aborted) session.end(signal.reason);
      else if (!this.locator.isCurrent(located.identity)) {
        session.end(new Error('another master is in charge'));
        throw new Error('another master took over while it was being connected to');
      } else this.begin(session);
    } catch (error) {
      if (!signal.aborted) this.onConnectFailed(error);
    }
  }

  private begin(session: Session): void {
    this.lastRun = session.run;
    this.failures = 0;
    this.state = { kind: 'ready', ...this.host.examine(session) };
    session.onEnd((cause) => this.onSessionEnd(session, cause));
    this.sessionWaiters.notify();
    this.host.onReady(this.state);
  }

  private onSessionEnd(session: Session, cause: unknown): void {
    if (this.ready?.session !== session) return;
    const why = lostConnection(session.address, cause);
    this.retryLater(why);
    this.host.onSessionEnd(why);
  }

  private onConnectFailed(error: unknown): void {
    const why = this.whyDown(error);
    this.retryLater(why);
    this.host.onConnectFailed(why, this.failures);
  }

  private retryLater(why: Unavailable): void {
    const cancelRetry = this.clock.after(retryPause(this.failures++), () => void this.connect());
    this.state = { kind: 'down', why, cancelRetry };
    if (why.permanent === true) this.sessionWaiters.notify();
  }

  private whyDown(error: unknown): Unavailable {
    if (error instanceof RefusedError) return refusedBy(error.address, error.reply);
    // Later the same failure is a fail-over, or a host that is restarted, and passes.
    const isFirst = this.lastRun === undefined;
    const isMisplaced = error instanceof NoMasterError && this.locator.isFixed && isFirst;
    const isUnknown = isUnknownHost(error);
    const isPermanent = isMisplaced || (isUnknown && isFirst) || error instanceof UnsuitableError;
    return {
      kind: 'unavailable',
      reason: `${this.name} cannot be used: ${messageOf(error)}.${isUnknown ? ' Check the host in the option connection.' : ''}`,
      cause: error,
      ...(isPermanent && { permanent: true }),
    };
  }

  /** Why the last try failed, until a session begins. */
  private get failure(): Unavailable | undefined {
    return 'why' in this.state ? this.state.why : undefined;
  }
}

/** The connection ended, so the outcome of what was asked is unknown. */
export function lostConnection(address: Address, cause: unknown): Unavailable {
  return {
    kind: 'unavailable',
    reason: `The connection to Redis at ${addressText(address)} was lost: ${messageOf(cause)}.`,
    cause,
  };
}
