import { ErrorReply, type Command, type Reply } from '../../store/redis/resp.js';
import { ok, problem, warning, type Finding } from './finding.js';

/** What is missing without a right. `locks`: nothing works. */
type Need = 'locks' | 'limit' | 'list' | 'cluster' | { readonly without: string };

interface Right {
  /** As ACL names it: `client|list`. */
  readonly name: string;
  readonly need: Need;
  /** A harmless use. `key` holds a string that ends by itself. */
  readonly command: (key: string) => Command;
}

/** The id of a client that no server has. */
const NO_CLIENT = 9_007_199_254_740_991;

/**
 * The commands that the library uses, each with a use that changes nothing but the scratch key. On a
 * string, the commands for hashes answer WRONGTYPE, which shows that they are permitted. A replica
 * answers READONLY, which shows the same.
 *
 * `subscribe` is tried on a connection of its own. `select` and `client|setname` are used while
 * connecting: the first only for another database than 0, the second only if it is permitted.
 */
export const RIGHTS: readonly Right[] = [
  { name: 'eval', need: 'locks', command: (key) => ['eval', 'return 1', 1, key] },
  { name: 'evalsha', need: 'locks', command: (key) => ['evalsha', '0'.repeat(40), 1, key] },
  { name: 'get', need: 'locks', command: (key) => ['get', key] },
  { name: 'set', need: 'locks', command: (key) => ['set', key, 'doctor', 'px', 10_000] },
  { name: 'pttl', need: 'locks', command: (key) => ['pttl', key] },
  { name: 'time', need: 'locks', command: () => ['time'] },
  { name: 'wait', need: 'locks', command: () => ['wait', 0, 1] },
  { name: 'info', need: 'locks', command: () => ['info', 'server'] },
  { name: 'ping', need: 'locks', command: () => ['ping'] },
  { name: 'client|id', need: 'locks', command: () => ['client', 'id'] },
  {
    name: 'client|tracking',
    need: { without: 'waiters and holders learn of changes late, by timers' },
    command: () => ['client', 'tracking', 'off'],
  },
  {
    name: 'client|unblock',
    need: { without: 'callers may wait up to 100 ms behind a replica that does not answer' },
    command: () => ['client', 'unblock', NO_CLIENT, 'error'],
  },
  {
    name: 'client|list',
    need: { without: 'the age of replication links is counted from the start of each process' },
    command: () => ['client', 'list', 'type', 'replica'],
  },
  {
    name: 'client|kill',
    need: { without: 'a command that was lost on the way may hold a key for one lease' },
    command: () => ['client', 'kill', 'id', NO_CLIENT],
  },
  {
    name: 'mget',
    need: { without: 'locks of many keys cost Redis 7.0 the square of their number' },
    command: (key) => ['mget', key],
  },
  {
    name: 'pexpire',
    need: { without: 'releases and renewals are refused while the memory of Redis is full' },
    command: (key) => ['pexpire', key, 10_000],
  },
  { name: 'hmget', need: 'limit', command: (key) => ['hmget', key, ''] },
  { name: 'hset', need: 'limit', command: (key) => ['hset', key, 'f', 'v'] },
  { name: 'hdel', need: 'limit', command: (key) => ['hdel', key, 'f'] },
  { name: 'hlen', need: 'limit', command: (key) => ['hlen', key] },
  { name: 'hgetall', need: 'limit', command: (key) => ['hgetall', key] },
  { name: 'hrandfield', need: 'limit', command: (key) => ['hrandfield', key, 1] },
  { name: 'exists', need: 'limit', command: (key) => ['exists', key] },
  { name: 'scan', need: 'list', command: (key) => ['scan', 0, 'match', key, 'count', 1] },
  { name: 'getrange', need: 'list', command: (key) => ['getrange', key, 0, 1] },
  { name: 'hget', need: 'list', command: (key) => ['hget', key, ''] },
  { name: 'cluster|nodes', need: 'cluster', command: () => ['cluster', 'nodes'] },
  // Last, because this removes the scratch key.
  { name: 'del', need: 'limit', command: (key) => ['del', key] },
];

/** A right that the user or the server lacks. */
export interface Missing {
  readonly name: string;
  readonly need: Need;
  /** `command`: the server does not know the command. `key`: the user may not use such a key. */
  readonly cause: 'right' | 'command' | 'key';
}

export const SUBSCRIBE: Omit<Right, 'command'> = {
  name: 'subscribe',
  need: { without: 'waiters and holders learn of changes late, by timers' },
};

/** The rights to try. The key must be one of the server's own keys in a Cluster. */
export function rightsFor(inCluster: boolean): readonly Right[] {
  return RIGHTS.filter(({ need }) => inCluster || need !== 'cluster');
}

/** What the reply to a try says; undefined if the command is permitted. */
export function missingIn(
  { name, need }: Omit<Right, 'command'>,
  reply: Reply | undefined,
): Missing | undefined {
  if (!(reply instanceof ErrorReply)) return undefined;
  if (/unknown (sub)?command/i.test(reply.message)) return { name, need, cause: 'command' };
  if (reply.code !== 'NOPERM' && !/can't run this command/.test(reply.message)) return undefined;
  return { name, need, cause: /\bkeys?\b/.test(reply.message) ? 'key' : 'right' };
}

const DOCUMENTED = 'See "Redis commands that an ACL user needs" in docs/production.md.';

/** `keyPrefix`: for the advice. */
export function rightsFindings(
  missing: readonly Missing[],
  user: string | undefined,
  keyPrefix: string,
): Finding[] {
  const who = user === undefined ? 'The user of this connection' : `The user ${user}`;
  const setUser = user ?? '<user>';
  if (missing.length === 0)
    return [
      ok('rights', `${who} may run every command that locks need, on keys with the prefix '${keyPrefix}'.`),
    ];
  const findings: Finding[] = [];
  const key = missing.filter(({ cause }) => cause === 'key');
  if (key.length > 0)
    findings.push(
      problem(
        'rights',
        `${who} may not use keys that begin with '${keyPrefix}': ${namesOf(key)}.`,
        `Give the user ~${keyPrefix}*, or set keyPrefix to a prefix that the user may use.`,
      ),
    );
  const unknown = missing.filter(({ cause, need }) => cause === 'command' && isNeeded(need));
  if (unknown.length > 0)
    findings.push(
      problem(
        'commands',
        `The server, or a proxy before the server, does not know ${namesOf(unknown)}: removed, renamed, or never there.`,
        'Give the commands their names back (rename-command), or use a server that has them.',
      ),
    );
  const refused = missing.filter(({ cause, need }) => cause === 'right' && isNeeded(need));
  if (refused.length > 0)
    findings.push(
      problem(
        'rights',
        `${who} may not run ${namesOf(refused)}: locks are refused.`,
        `ACL SETUSER ${setUser} ${refused.map(({ name }) => `+${name}`).join(' ')}. ${DOCUMENTED}`,
      ),
    );
  for (const [need, consequence] of [
    ['limit', 'locks with a limit above 1 are refused'],
    ['list', 'the keys cannot be listed'],
  ] as const) {
    const lacking = missing.filter((each) => each.need === need && each.cause !== 'key');
    if (lacking.length > 0)
      findings.push(
        warning(
          'rights',
          `Without ${namesOf(lacking)}, ${consequence}.`,
          `${adviceFor(lacking, setUser)} ${DOCUMENTED}`,
        ),
      );
  }
  for (const each of missing)
    if (typeof each.need === 'object' && each.cause !== 'key')
      findings.push(
        warning('rights', `Without ${each.name}, ${each.need.without}.`, adviceFor([each], setUser)),
      );
  return findings;
}

function isNeeded(need: Need): boolean {
  return need === 'locks' || need === 'cluster';
}

function adviceFor(missing: readonly Missing[], user: string): string {
  const rights = missing.filter(({ cause }) => cause === 'right').map(({ name }) => `+${name}`);
  return rights.length > 0
    ? `ACL SETUSER ${user} ${rights.join(' ')}.`
    : 'The server does not know the command: see rename-command in its configuration.';
}

function namesOf(missing: readonly Missing[]): string {
  return missing.map(({ name }) => name).join(', ');
}
