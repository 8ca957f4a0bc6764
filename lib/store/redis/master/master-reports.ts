import type { Clock } from '../../../common/clock.js';
import type { CommitCounts, MasterHealth, ReplicaReport, Unavailable } from '../../lock-store.js';
import { withoutReplica } from '../commit/messages.js';
import { addressWarnings, type AddressWarning } from '../replication/address-warnings.js';
import type { KnownReplicas } from '../replication/known-replicas.js';
import { RENEWAL } from '../replication/quorum.js';
import { quarantineText, type ReplicaView } from '../replication/replica-view.js';
import type { SharedAddresses } from '../replication/shared-addresses.js';
import { FAILURES_TO_REPORT } from '../pauses.js';
import { addressText } from '../resp.js';
import type { MasterConnection, ReadySession } from './master-connection.js';
import type { MasterListener, MasterSettings } from './master-settings.js';

/**
 * ms for which a replica that Sentinel or the Cluster does not name counts as new, and is not
 * reported. Sentinel asks a master for its replicas every 10 s.
 */
const NAMING_TIME = 30_000;

/**
 * What the log and `health()` say of one master. The log says each condition once, until the
 * condition has passed.
 */
export class MasterReports {
  private wasQuarantined = false;
  private wasAlone = false;
  /** The majority to which `replicas` was last reported as raised. */
  private raisedTo = 0;
  private strangersSince: number | undefined;
  private addressWarnings: readonly AddressWarning[] = [];
  private readonly reportedWarnings = new Set<AddressWarning['code']>();

  constructor(
    private readonly connection: Pick<MasterConnection, 'name' | 'address' | 'ready' | 'whyUnavailable'>,
    private readonly inCluster: boolean,
    private readonly knownReplicas: KnownReplicas,
    private readonly shared: SharedAddresses,
    private readonly settings: MasterSettings,
    private readonly listener: Pick<MasterListener, 'onReport'>,
    private readonly clock: Clock,
  ) {}

  sessionReady({ session, view, misconfigured }: ReadySession): void {
    const { untracked } = session.opened;
    if (untracked !== undefined) {
      this.listener.onReport(
        'warn',
        'tracking-refused',
        `Redis at ${addressText(session.address)} refuses client tracking (${untracked.message}): waiters and holders notice changes late, by timers.`,
      );
    }
    if (misconfigured !== undefined) this.listener.onReport('error', 'eviction', misconfigured.reason);
    this.reportAlone(view);
    this.reportMajority(view);
  }

  sessionEnded(why: Unavailable): void {
    this.listener.onReport('warn', 'connection-lost', why.reason);
  }

  /** Called for every failure in a row, of which one is reported. */
  connectFailed(why: Unavailable, failures: number): void {
    if (failures === FAILURES_TO_REPORT)
      this.listener.onReport('error', 'unreachable', `${why.reason} Locks are refused until that is mended.`);
  }

  replicasPolled(ready: ReadySession): void {
    const { view } = ready;
    this.reportQuarantine(ready);
    this.reportAlone(view);
    this.reportMajority(view);
    this.reportAddresses();
  }

  /** Another program uses longer leases than this program was told of. */
  longLease(key: string, owner: string, remainingTime: number): void {
    const { quarantine } = this.settings;
    this.listener.onReport(
      'warn',
      'long-lease',
      `Key '${key}' is held by ${owner} for ${Math.round(remainingTime / 1000)} s more, longer than the quarantine (${quarantine} ms) covers: ` +
        'after a fail-over it could be granted while that holder still relies on the lock. Set quarantine to the longest lease of any program on this Redis.',
    );
  }

  health(commits: CommitCounts): MasterHealth {
    const { address, ready } = this.connection;
    if (ready === undefined) {
      return {
        address,
        connected: false,
        reason: this.connection.whyUnavailable.reason,
        replicas: [],
        quarantine: 0,
        tracking: false,
        commits,
      };
    }
    const { session, view } = ready;
    const replicas = view.health();
    const reason = this.whyRefusing(ready, replicas);
    const warnings = this.addressWarnings.map(({ message }) => message);
    return {
      address,
      connected: true,
      ...(reason !== undefined && { reason }),
      ...(warnings.length > 0 && { warnings }),
      replicas,
      quarantine: view.quarantineLeft(this.clock.monotonic()),
      tracking: session.opened.untracked === undefined,
      commits,
    };
  }

  /** Why this master, which answers, grants no new lock; undefined if new locks are granted. */
  private whyRefusing(
    { view, misconfigured }: ReadySession,
    replicas: readonly ReplicaReport[],
  ): string | undefined {
    if (misconfigured !== undefined) return misconfigured.reason;
    const quarantine = view.quarantineLeft(this.clock.monotonic());
    if (quarantine > 0) return `${this.name}: ${quarantineText(quarantine)}`;
    const { replicas: policy, allowNoReplicas } = this.settings;
    const required = view.required({ policy, allowNoReplicas });
    const confirming = replicas.filter(({ acknowledged }) => acknowledged).length;
    if (confirming >= required) return undefined;
    const known = view.replicaCount;
    if (known === 0 && !allowNoReplicas) return withoutReplica(this.name);
    const lack = `${confirming} of ${known} known replicas answer, and ${required} must confirm: new locks are refused.`;
    return required > known ? `${lack} Attach the missing replicas, or set replicas to ${known}.` : lack;
  }

  /** A server without replicas refuses every lock. A known replica that is away still counts. */
  private reportAlone(view: ReplicaView): void {
    if (view.replicaCount > 0 || this.settings.allowNoReplicas || this.wasAlone) return;
    this.wasAlone = true;
    this.listener.onReport('error', 'no-replica', withoutReplica(this.name));
  }

  /** A number of replicas that is less than a majority is raised to the majority. */
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
          ? ' To do without replicas, use a server without replicas and allowNoReplicas: true.'
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
      this.name,
      this.inCluster,
      this.shared.shared,
      oddity && { ...oddity, ...(areNew && { strangers: [] }) },
    );
    for (const { code, message } of this.addressWarnings) {
      if (this.reportedWarnings.has(code)) continue;
      this.reportedWarnings.add(code);
      this.listener.onReport('warn', code, message);
    }
  }

  /** The end of a quarantine is reported once new locks are really granted. */
  private reportQuarantine(ready: ReadySession): void {
    const { view } = ready;
    const left = view.quarantineLeft(this.clock.monotonic());
    if (left > 0 && !this.wasQuarantined) {
      this.wasQuarantined = true;
      this.listener.onReport('warn', 'quarantine', `${this.name}: ${quarantineText(left)}`);
    } else if (left === 0 && this.wasQuarantined && this.whyRefusing(ready, view.health()) === undefined) {
      this.wasQuarantined = false;
      this.listener.onReport(
        'log',
        'quarantine-over',
        'The quarantine of the replicas is over: new locks are granted again.',
      );
    }
  }

  private get name(): string {
    return this.connection.name;
  }
}
