import { evictionPolicyOf } from '../../store/redis/connection/open-session.js';
import { evictionRisk } from '../../store/redis/master/eviction.js';
import { infoField } from '../../store/redis/replication/replication-info.js';
import { ok, problem, warning, type Finding } from './finding.js';
import { productOf, UNKNOWN_VERSION, type ServerFacts } from './server-facts.js';

/** The first versions that have every command that locks need. */
const LEAST = { Redis: [6, 2], Valkey: [7, 2] } as const;

/** ms. A round trip that is longer takes a noticeable part of `replicaTimeout`. */
const LONG_ROUND_TRIP = 100;

/** The part of `maxmemory` that is used, from which the server is nearly full. */
const NEARLY_FULL = 0.9;

/** What concerns a server by itself, master or replica. */
export function serverFindings(facts: ServerFacts): Finding[] {
  return [versionFinding(facts), evictionFinding(facts), ...memoryFindings(facts), latencyFinding(facts)];
}

export function versionFinding({ info }: Pick<ServerFacts, 'info'>): Finding {
  const { name, version } = productOf(info);
  if (version === UNKNOWN_VERSION)
    return warning(
      'version',
      'The server does not tell its version.',
      'Let the user run INFO. Locks need Redis 6.2 or later, or Valkey.',
    );
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [leastMajor, leastMinor] = LEAST[name as 'Redis'];
  const text = `${name} ${version}.`;
  if (major > leastMajor || (major === leastMajor && minor >= leastMinor)) return ok('version', text);
  return problem(
    'version',
    text,
    `Use Redis 6.2 or later, or Valkey: this version lacks commands that locks need.`,
  );
}

export function evictionFinding({ address, info }: Pick<ServerFacts, 'address' | 'info'>): Finding {
  if (infoField(info, 'maxmemory') === undefined)
    return warning(
      'eviction',
      'The server does not tell whether it may evict locks.',
      'Let the user run INFO, and see that maxmemory-policy is noeviction.',
    );
  const evictionPolicy = evictionPolicyOf(info);
  const risk = evictionRisk({ address, opened: { evictionPolicy } }, false);
  if (risk === undefined) return ok('eviction', 'The server evicts no key.');
  const [text, ...advice] = risk.reason.split(/(?<=\.) (?=Set )/);
  return problem('eviction', text!, advice.join(' '));
}

export function memoryFindings({ info }: Pick<ServerFacts, 'info'>): Finding[] {
  const limit = Number(infoField(info, 'maxmemory') ?? 0);
  const used = Number(infoField(info, 'used_memory') ?? 0);
  if (limit === 0 || used / limit < NEARLY_FULL) return [];
  return [
    warning(
      'memory',
      `${Math.round((100 * used) / limit)} % of maxmemory are used: a full server refuses new locks.`,
      'Raise maxmemory, or keep locks on a server of their own.',
    ),
  ];
}

export function latencyFinding({ clock }: Pick<ServerFacts, 'clock'>): Finding {
  const text = `A round trip takes ${timeText(clock.roundTrip)} from here.`;
  if (clock.roundTrip <= LONG_ROUND_TRIP) return ok('latency', text);
  return warning(
    'latency',
    text,
    'Every lock takes at least one round trip and the confirmation. Run the application nearer to Redis, or raise replicaTimeout.',
  );
}

/** What a restart of this server would mean for locks. */
export function persistenceFinding({ info, config }: Pick<ServerFacts, 'info' | 'config'>): Finding {
  const advice =
    'Set appendonly yes, or let nothing restart a dead master by itself (restart: no) so that a replica takes over.';
  if (infoField(info, 'aof_enabled') === '1') {
    const fsync = config.get('appendfsync');
    const how = fsync === undefined ? '' : ` (appendfsync ${fsync})`;
    if (fsync === 'no')
      return warning(
        'persistence',
        `Writes are kept in an append-only file${how}, which the system writes when it likes.`,
        'Set appendfsync everysec.',
      );
    return ok(
      'persistence',
      `Writes are kept in an append-only file${how}: a restart brings the locks back, apart from about the last second.`,
    );
  }
  const save = config.get('save');
  if (save === undefined)
    return warning(
      'persistence',
      'There is no append-only file, and the user may not read the setting save: a restart brings back old data or none.',
      advice,
    );
  if (save === '')
    return warning(
      'persistence',
      'Nothing is saved: a server that restarts comes back empty. All locks that it held are lost, and new locks are refused for one quarantine.',
      advice,
    );
  return warning(
    'persistence',
    `Only snapshots are saved (save ${save}): a server that restarts comes back with old data. Newer locks are lost, and new locks are refused for one quarantine.`,
    advice,
  );
}

export function timeText(ms: number): string {
  return ms < 10
    ? `${ms.toFixed(1)} ms`
    : ms < 10_000
      ? `${Math.round(ms)} ms`
      : `${Math.round(ms / 1_000)} s`;
}
