import type { RedisConnection } from '../store/redis/options.js';
import type { GivenOptions } from './arguments.js';
import { UsageError } from './usage.js';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The Redis that a command is about. */
export interface Target {
  readonly connection: RedisConnection;
  /** Undefined: the default of the module. */
  readonly keyPrefix: string | undefined;
  /** Texts that must not be printed. */
  readonly secrets: readonly string[];
}

type Place =
  | { readonly kind: 'url'; readonly url: string }
  | { readonly kind: 'sentinel'; readonly sentinels: string; readonly master: string }
  | { readonly kind: 'nodes'; readonly nodes: string };

/**
 * Where Redis is, by the options, or else by the environment. Passwords come from the environment,
 * because every user of a machine can read the arguments of its processes.
 *
 * @throws {UsageError}
 */
export function targetOf(options: GivenOptions, env: Environment): Target {
  const place = placeOf(options.url, options.sentinel, options.master, options.nodes, refuseSecret);
  const fromEnv = (name: string): string | undefined => nonEmpty(env[`REPLICA_LOCK_${name}`]);
  const found =
    place ??
    placeOf(
      fromEnv('URL'),
      fromEnv('SENTINELS'),
      options.master ?? fromEnv('MASTER'),
      fromEnv('NODES'),
      (url) => url,
    );
  if (options.master !== undefined && found !== undefined && found.kind !== 'sentinel')
    throw new UsageError(
      '--master names a master that Sentinels watch: give --sentinel <host:port,...> as well.',
    );
  if (found === undefined)
    throw new UsageError(
      'Say where Redis is: --url redis://host:port, --sentinel with --master, or --nodes (or REPLICA_LOCK_URL in the environment).',
    );
  const [username, password] = [fromEnv('USERNAME'), fromEnv('PASSWORD')];
  const [sentinelUsername, sentinelPassword] = [fromEnv('SENTINEL_USERNAME'), fromEnv('SENTINEL_PASSWORD')];
  const credentials = given({ username, password });
  const secrets = [password, sentinelPassword];
  const keyPrefix = options['key-prefix'] ?? fromEnv('KEY_PREFIX');
  const made = (connection: RedisConnection, inUrl: readonly string[] = []): Target => ({
    connection,
    keyPrefix,
    secrets: [...secrets, ...inUrl].flatMap((secret) => secret ?? []),
  });
  if (found.kind === 'url') {
    if (found.url.startsWith('memory:'))
      throw new UsageError('Locks in memory belong to their process: there is no server to ask.');
    if (found.url.startsWith('/') && password !== undefined) return made({ path: found.url, ...credentials });
    const { url, inUrl } = withCredentials(found.url, username, password);
    return made(url, inUrl);
  }
  const { addresses, isTls } = addressesOf(
    found.kind === 'nodes' ? found.nodes : found.sentinels,
    found.kind,
  );
  const tls = isTls ? {} : undefined;
  if (found.kind === 'nodes')
    return made({ nodes: addresses, options: { redisOptions: { ...credentials, ...given({ tls }) } } });
  return made({
    sentinels: addresses,
    name: found.master,
    ...credentials,
    ...given({ sentinelUsername, sentinelPassword, tls, sentinelTLS: tls }),
  });
}

function placeOf(
  url: string | undefined,
  sentinels: string | undefined,
  master: string | undefined,
  nodes: string | undefined,
  check: (url: string) => string,
): Place | undefined {
  const count = [url, sentinels, nodes].filter((each) => each !== undefined).length;
  if (count > 1) throw new UsageError('Give only one of url, sentinel and nodes.');
  if (url !== undefined) return { kind: 'url', url: check(url) };
  if (nodes !== undefined) return { kind: 'nodes', nodes };
  if (sentinels === undefined) return undefined;
  if (master === undefined)
    throw new UsageError('Name the master that the Sentinels watch: --master <name> (often mymaster).');
  return { kind: 'sentinel', sentinels, master };
}

function refuseSecret(url: string): string {
  // A password with special characters that are not encoded may stand in any part of the text.
  const rest = url.replace(/^[a-z]+:\/\//i, '');
  const [credentials = ''] = rest.split('@').length > 1 ? rest.split('@') : [];
  if (credentials.includes(':') || /[?&](sentinelP|p)assword=/i.test(url))
    throw new UsageError(
      'The URL of --url has a password, which all users of this machine can read in the list of processes. ' +
        'Give it in REPLICA_LOCK_PASSWORD, or the whole URL in REPLICA_LOCK_URL.',
    );
  return url;
}

/** Puts the credentials of the environment in a URL that has none. */
function withCredentials(
  text: string,
  username: string | undefined,
  password: string | undefined,
): { url: string; inUrl: readonly string[] } {
  // The check of the option `connection` says what is wrong with the text.
  if (!URL.canParse(text) || !/^rediss?:/.test(text)) return { url: text, inUrl: [] };
  const url = new URL(text);
  if (url.username === '' && username !== undefined) url.username = encodeURIComponent(username);
  if (url.password === '' && password !== undefined) url.password = encodeURIComponent(password);
  const query = url.searchParams.get('password');
  return {
    url: url.href,
    inUrl: [url.password, decoded(url.password), query ?? ''].filter((each) => each !== ''),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

function addressesOf(text: string, kind: 'sentinel' | 'nodes'): { addresses: HostAndPort[]; isTls: boolean } {
  const isTls: boolean[] = [];
  const addresses = text.split(',').map((each) => {
    const match = /^(?:(rediss?):\/\/)?(?:\[([\da-f:.]+)\]|([^\s:@/[\]]+))(?::(\d{1,5}))?\/?$/i.exec(
      each.trim(),
    );
    if (match === null)
      throw new UsageError(
        `--${kind} needs addresses as host:port, with commas between them, and without a password.`,
      );
    const [, scheme, ipv6, name, port] = match;
    isTls.push(scheme?.toLowerCase() === 'rediss');
    const defaultPort = kind === 'sentinel' ? 26_379 : 6_379;
    return { host: (ipv6 ?? name)!, port: port === undefined ? defaultPort : Number(port) };
  });
  if (isTls.includes(true) && isTls.includes(false))
    throw new UsageError(`--${kind} has addresses with and without TLS: give all of them the same scheme.`);
  return { addresses, isTls: isTls.includes(true) };
}

/** The properties that are not undefined. */
function given<T extends object>(options: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: NonNullable<T[K]> };
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}
