import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, Redis } from 'ioredis';
import { LockService } from '../lib/lock/lock-service.js';
import type { Lock } from '../lib/lock/lock.js';
import type { ReplicaPolicy } from '../lib/store/lock-store.js';
import { RedisStore } from '../lib/store/redis/redis-store.js';
import { stand, type CandidateHost } from './candidate.js';
import { takeControl, type ControlHost, type Take } from './control.js';
import { now, UNLIMITED, type Kind, type Unsaid, type WorkerEvent } from './events.js';

/**
 * One worker process: takes, holds and releases locks of all three kinds, or stands for elections,
 * and reports which locks it believes in. Ends when the parent process ends.
 */
interface Settings {
  readonly connection:
    | { sentinels: { host: string; port: number }[]; name: string }
    | { nodes: { host: string; port: number }[] };
  /** The resource that the locks protect, on a server without faults. Refuses old tokens. */
  readonly resource: { host: string; port: number };
  readonly leaseTime: number;
  readonly policy: ReplicaPolicy;
  readonly keys: number;
  /** How many holders most locks allow. */
  readonly limit: number;
  /** All workers stand for one election per key. The controls hold their keys like leaders. */
  readonly election: boolean;
  readonly loops: number;
}

const settings = JSON.parse(process.argv[2] ?? '{}') as Settings;
const { connection, leaseTime, policy } = settings;

function say(kind: Kind, event: Unsaid<WorkerEvent>, t = now()): void {
  process.stdout.write(`${JSON.stringify({ t, kind, ...event })}\n`);
}

process.on('unhandledRejection', (reason) =>
  say('replica', {
    e: 'trouble',
    what: `unhandled rejection: ${(reason as Error | undefined)?.stack ?? String(reason)}`,
  }),
);
process.on('uncaughtException', (error) =>
  say('replica', { e: 'trouble', what: `uncaught: ${error.stack ?? error.message}` }),
);

// If the server dies in the middle of the RESP 3 handshake, ioredis leaves a rejection unhandled.
const RESP = { protocol: 2 } as const;
const resource = new Redis({ ...settings.resource, ...RESP, retryStrategy: () => 100 });
resource.on('error', () => {});
/**
 * The fence of docs/guarantees.md: stores the value and the greatest token seen, and refuses
 * smaller tokens.
 */
const FENCED_WRITE = `
local place = redis.call('INCR', 'writes')
local seen = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0')
if tonumber(ARGV[1]) < seen then return {place, 0} end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'value', ARGV[2])
return {place, 1}
`;
/** ms for which a worker is busy when told to be. */
const BUSY_TIME = 7_000;
/** ms between two writes of one holder. */
const WRITE_TIME = 60;

async function write({ owner: id, key, fencingToken: token }: Lock): Promise<void> {
  const t = now();
  const reply = await resource.eval(FENCED_WRITE, 1, `fenced:${key}`, token, id).catch(() => undefined);
  if (!Array.isArray(reply)) return;
  const [place, isAccepted] = reply as [number, number];
  say('replica', { e: 'write', id, key, token, place, isAccepted: isAccepted === 1 }, t);
}

/**
 * Works as a holder: writes until the signal aborts or the work is done. Checks nothing else
 * before a write, like a program that was frozen between check and write. The fence must refuse
 * such a write.
 */
async function work(lock: Lock, ms: number): Promise<void> {
  const end = now() + ms;
  while (!lock.signal.aborted) {
    await write(lock);
    if (now() + WRITE_TIME > end) return sleep(Math.max(0, end - now()));
    await sleep(WRITE_TIME);
  }
}

/** The fence knows one holder at a time: holders of a shared key do not write. */
async function workUnfenced({ signal }: Lock, ms: number): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}

/**
 * Mostly short holds, so that most keys are freshly taken when a fault comes. Some holds outlive a
 * fail-over.
 */
function holdTime(): number {
  return Math.random() < 0.7 ? 10 + Math.random() * 300 : leaseTime * (0.5 + Math.random());
}

const service = new LockService(
  new RedisStore({
    connection,
    keyPrefix: 'lock:',
    replicas: policy,
    allowNoReplicas: false,
    quarantine: leaseTime,
    replicaTimeout: 600,
    clockSkew: 1_000,
    allowEviction: false,
  }),
  {
    leaseTime,
    waitTime: 0,
    renew: true,
    maxHoldTime: undefined,
    replicas: policy,
    replicaTimeout: 600,
    shutdownTimeout: 1_000,
    quarantine: leaseTime,
  },
);
service.open();
service.events.subscribe((event) => {
  if (event.type === 'renewed')
    say('replica', { e: 'valid', id: event.owner, until: now() + event.remainingTime });
  if (event.type === 'lost')
    say('replica', { e: 'lost', id: event.owner, gap: longestGap(), why: event.error.message });
});

/** With a limit above 1, a few locks are stricter or laxer than the others. */
function limitOfNext(): number {
  if (settings.limit === 1 || Math.random() < 0.8) return settings.limit;
  return Math.random() < 0.5 ? 1 : Infinity;
}

const takeReplica: Take = async (key) => {
  let lock: Lock;
  const limit = limitOfNext();
  try {
    lock = await service.acquire(key, { limit, waitTime: Math.random() < 0.5 ? 0 : 1_500 });
  } catch (error) {
    say('replica', { e: 'refused', key, code: (error as { code?: string }).code ?? String(error) });
    return undefined;
  }
  const id = lock.owner;
  say('replica', {
    e: 'grant',
    id,
    key,
    token: lock.fencingToken,
    limit: lock.limit === Infinity ? UNLIMITED : lock.limit,
    until: now() + lock.remainingTime,
  });
  return {
    work: (ms) => (settings.limit === 1 ? work(lock, ms) : workUnfenced(lock, ms)),
    release: async () => {
      say('replica', { e: 'release', id });
      await lock.release();
    },
  };
};

// A Cluster client of ioredis leaves the rejection of ASKING unhandled if the server dies.
const { asking } = Redis.prototype;
Redis.prototype.asking = async function (this: Redis) {
  return await asking.call(this).catch(() => 'OK' as const);
};

const client =
  'nodes' in connection
    ? new Cluster(connection.nodes, {
        clusterRetryStrategy: () => 200,
        redisOptions: { ...RESP, maxRetriesPerRequest: 1, connectTimeout: 1_000 },
      })
    : new Redis({ ...connection, ...RESP, maxRetriesPerRequest: 1, sentinelRetryStrategy: () => 200 });
client.on('error', () => {});

/** Takes one key after the other: any, or always the same. */
async function loop(take: Take, same?: string): Promise<never> {
  for (;;) {
    const taken = await take(same ?? `k${Math.floor(Math.random() * settings.keys)}`);
    if (taken === undefined) {
      await sleep(20 + Math.random() * 60);
      continue;
    }
    await taken.work(holdTime());
    await taken.release().catch(() => {});
    await sleep(Math.random() * 20);
  }
}

const control: ControlHost = { client, leaseTime, election: settings.election, say };
const candidate: CandidateHost = {
  service,
  say: (event, t) => say('replica', event, t),
  work: (term) => work(term, holdTime()),
  write,
};
for (let i = 0; i < (settings.election ? settings.keys : settings.loops); i++) {
  const key = settings.election ? `k${i}` : undefined;
  void (key === undefined ? loop(takeReplica) : stand(key, candidate));
  void loop(takeControl('plain', false, control), key);
  void loop(takeControl('naive', true, control), key);
}

/** Longest time in ms without a turn of the event loop, within one lease before now. */
const gaps: { at: number; ms: number }[] = [];
let cameRoundAt = now();
setInterval(() => {
  const at = now();
  gaps.push({ at, ms: at - cameRoundAt });
  cameRoundAt = at;
  while (gaps[0] !== undefined && gaps[0].at < at - leaseTime) gaps.shift();
}, 10);

function longestGap(): number {
  return Math.max(now() - cameRoundAt, ...gaps.map(({ ms }) => ms));
}

// Synchronous work in pieces: the event loop has a turn between them.
process.on('SIGUSR2', () => {
  const piece = 50 * 30 ** Math.random();
  const end = now() + BUSY_TIME;
  const spin = (): void => {
    for (const until = now() + piece; now() < until;);
    if (now() < end) setImmediate(spin);
  };
  spin();
});
process.on('disconnect', () => process.exit());
