import type { Clock } from '../../../common/clock.js';
import { durationText } from '../../../common/duration-text.js';
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

/** Polls in a row with too few replicas, after which the log says so: a restart takes a moment. */
const POLLS_TO_REPORT = 2;
/**
 * Polls in a row by which new locks are granted, before the log says so. Redis reports the silence of
 * a replica in whole seconds, so a replica that has just stopped seems to answer for up to 3 s.
 */
const POLLS_UNTIL_CLEAR = 5;

const UNPROTECTED =
  'quarantine is 0: after a fail-over or a restart of Redis two callers may hold one lock. Use this for development only, and leave quarantine out in production.';

/** Why a master that answers grants no new lock. */
interface Refusal {
  readonly kind: 'eviction' | 'no-replica' | 'replicas-missing' | 'quarantine';
  readonly reason: string;
}

function countOf(replicas: number): string {
  return replicas === 1 ? '1 replica is' : `${replicas === 0 ? 'No' : replicas} replicas are`;
}

function listOf(addresses: readonly string[]): string {
  return addresses.length === 0 ? '' : ` (${addresses.join(', ')})`;
}

/**
 * What the log and `health()` say of one master. The log says each condition once, until the
 * condition has passed.
 */
export class MasterReports {
  /** New locks were reported as refused, and not yet as granted again. */
  private wasRefusing = false;
  private wasQuarantined = false;
  private wasAlone = false;
  private wasUnprotected = false;
  /** Polls in a row by which too few replicas answer. */
  private lackingPolls = 0;
  /** Polls in a row by which new locks are granted. */
  private clearPolls = 0;
  /** The master and the replicas as the log last named them. */
  private namedServers = '';
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
    if (misconfigured !== undefined) {
      this.wasRefusing = true;
      this.listener.onReport('error', 'eviction', misconfigured.reason);
    }
    this.reportServers(view);
    this.reportUnprotected();
    this.reportAlone(view);
    this.reportMajority(view);
  }

  sessionEnded(why: Unavailable): void {
    this.listener.onReport('warn', 'connection-lost', why.reason);
  }

  /** Called for every failure in a row, of which one is reported. */
  connectFailed(why: Unavailable, failures: number): void {
    this.clearPolls = 0;
    if (failures !== FAILURES_TO_REPORT) return;
    this.wasRefusing = true;
    this.listener.onReport(
      'error',
      'unreachable',
      `${why.reason} Locks ${this.inCluster ? 'in its slots ' : ''}are refused until that is mended.`,
    );
  }

  replicasPolled(ready: ReadySession): void {
    const { view } = ready;
    const refusal = this.whyRefusing(ready, view.health());
    this.reportServers(view);
    this.reportQuarantine(refusal);
    this.reportAlone(view);
    this.reportMajority(view);
    this.reportAddresses();
    this.reportRefusals(refusal);
  }

  /** Another program uses longer leases than this program was told of. */
  longLease(key: string, owner: string, remainingTime: number): void {
    const { quarantine } = this.settings;
    this.listener.onReport(
      'warn',
      'long-lease',
      `Key '${key}' is held by ${owner} for ${durationText(remainingTime)} more, longer than the quarantine (${durationText(quarantine)}) covers: ` +
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
    const reason = this.whyRefusing(ready, replicas)?.reason;
    const warnings = this.addressWarnings.map(({ message }) => message);
    if (this.settings.quarantine === 0) warnings.push(UNPROTECTED);
    return {
      address,
      connected: true,
      ...(reason !== undefined && { reason }),
      ...(warnings.length > 0 && { warnings }),
      replicas,
      quarantine: Math.ceil(view.quarantineLeft(this.clock.monotonic())),
      tracking: session.opened.untracked === undefined,
      commits,
    };
  }

  /** Why this master, which answers, grants no new lock; undefined if new locks are granted. */
  private whyRefusing(
    { view, misconfigured }: ReadySession,
    replicas: readonly ReplicaReport[],
  ): Refusal | undefined {
    if (misconfigured !== undefined) return { kind: 'eviction', reason: misconfigured.reason };
    const { replicas: policy, allowNoReplicas } = this.settings;
    const required = view.required({ policy, allowNoReplicas });
    const confirming = replicas.filter(({ acknowledged }) => acknowledged).length;
    if (confirming >= required) {
      const quarantine = view.quarantineLeft(this.clock.monotonic());
      if (quarantine === 0) return undefined;
      return { kind: 'quarantine', reason: `${this.name}: ${quarantineText(quarantine)}` };
    }
    const known = view.replicaCount;
    if (known === 0 && !allowNoReplicas) return { kind: 'no-replica', reason: withoutReplica(this.name) };
    const lack = `${confirming} of ${known} known replicas answer, and ${required} must confirm: new locks are refused.`;
    if (required <= known) return { kind: 'replicas-missing', reason: lack };
    // Only the option `replicas` asks for more replicas than there are.
    const least = view.required({ policy: 'majority', allowNoReplicas });
    const advice = `Attach the missing replicas, or set replicas to ${known === least ? "'majority'" : known}.`;
    return { kind: 'replicas-missing', reason: `${lack} ${advice}` };
  }

  /** Names the servers at the start, and after each change. */
  private reportServers(view: ReplicaView): void {
    const { replicas: policy, allowNoReplicas } = this.settings;
    const replicas = view.health();
    const connected = replicas.filter(({ lag }) => lag !== null).map(({ address }) => address);
    const away = replicas.filter(({ lag }) => lag === null).map(({ address }) => address);
    const required = view.required({ policy, allowNoReplicas });
    const text =
      `${this.inCluster ? `${this.name} is a master of the Cluster` : `The master is ${this.name}`}. ${countOf(connected.length)} connected${listOf(connected)}` +
      `${away.length === 0 ? '' : `, ${away.length} not connected${listOf(away)}`}. ` +
      `A new lock needs the confirmation of ${required === 1 ? '1 replica' : `${required} replicas`} (replicas: ${typeof policy === 'number' ? policy : `'${policy}'`}).`;
    if (text === this.namedServers) return;
    this.namedServers = text;
    this.listener.onReport('log', 'servers', text);
  }

  /** `quarantine: 0` gives up the main promise, and is no setting for production. */
  private reportUnprotected(): void {
    if (this.settings.quarantine !== 0 || this.wasUnprotected) return;
    this.wasUnprotected = true;
    this.listener.onReport('warn', 'no-quarantine', UNPROTECTED);
  }

  /**
   * Says that new locks are refused while the master answers but too few replicas do, and that new
   * locks are granted again, whatever the reason was. A quarantine has a report of its own.
   */
  private reportRefusals(refusal: Refusal | undefined): void {
    this.clearPolls = refusal === undefined ? this.clearPolls + 1 : 0;
    this.lackingPolls = refusal?.kind === 'replicas-missing' ? this.lackingPolls + 1 : 0;
    if (refusal?.kind === 'replicas-missing' && this.lackingPolls === POLLS_TO_REPORT) {
      this.wasRefusing = true;
      // The replicas come back over new links, and their quarantine is another one.
      this.wasQuarantined = false;
      this.listener.onReport('warn', 'replicas-missing', `${this.name}: ${refusal.reason}`);
    } else if (this.clearPolls >= POLLS_UNTIL_CLEAR) this.reportClear();
  }

  private reportClear(): void {
    if (this.wasQuarantined)
      this.listener.onReport(
        'log',
        'quarantine-over',
        `${this.name}: the quarantine of the replicas is over, and new locks are granted again.`,
      );
    else if (this.wasRefusing)
      this.listener.onReport('log', 'granted-again', `${this.name}: new locks are granted again.`);
    this.wasRefusing = false;
    this.wasQuarantined = false;
    this.wasAlone = false;
  }

  /** A server without replicas refuses every lock. A known replica that is away still counts. */
  private reportAlone(view: ReplicaView): void {
    if (view.replicaCount > 0 || this.settings.allowNoReplicas || this.wasAlone) return;
    this.wasAlone = true;
    this.wasRefusing = true;
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

  /** The end of a quarantine is no promise while replicas are missing: those are reported instead. */
  private reportQuarantine(refusal: Refusal | undefined): void {
    if (refusal?.kind !== 'quarantine' || this.wasQuarantined) return;
    this.wasQuarantined = true;
    this.listener.onReport('warn', 'quarantine', refusal.reason);
  }

  private get name(): string {
    return this.connection.name;
  }
}
