import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster, Redis } from 'ioredis';
import { now, type Kind, type Unsaid, type WorkerEvent } from './events.js';

/** A lock that was taken: the work, and the end, which reports when the belief ends. */
interface Taken {
  work(ms: number): Promise<void>;
  release(): Promise<void>;
}

/** Tries to take the key; undefined if that was refused. */
export type Take = (key: string) => Promise<Taken | undefined>;

/** What the controls need of their worker. */
export interface ControlHost {
  readonly client: Redis | Cluster;
  readonly leaseTime: number;
  /** A control renews its key, and keeps the key like a leader. */
  readonly election: boolean;
  say(kind: Kind, event: Unsaid<WorkerEvent>): void;
}

const RELEASE =
  "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";
const RENEW =
  "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0";

/** Uses a pipeline, which in a Cluster goes to the master of the first key. */
async function connectedReplicas({ client }: ControlHost, name: string): Promise<number> {
  const replies = await client.pipeline().get(name).info('replication').exec();
  return Number(/connected_slaves:(\d+)/.exec(String(replies?.[1]?.[1]))?.[1] ?? 0);
}

async function waitFor({ client }: ControlHost, name: string, replicas: number): Promise<number> {
  const replies = await client.pipeline().get(name).wait(replicas, 600).exec();
  return Number(replies?.[1]?.[1] ?? 0);
}

/** True if as many replicas as the master lists have confirmed. */
async function isConfirmed(host: ControlHost, name: string): Promise<boolean> {
  const connected = await connectedReplicas(host, name);
  return connected === 0 || (await waitFor(host, name, connected)) >= connected;
}

/** A control: SET NX PX. With `waits`, also a WAIT for as many replicas as the master lists. */
export function takeControl(kind: 'plain' | 'naive', waits: boolean, host: ControlHost): Take {
  const { client, leaseTime, election, say } = host;
  return async (key) => {
    const id = randomUUID();
    const name = `${kind}:${key}`;
    const start = now();
    try {
      if ((await client.set(name, id, 'PX', leaseTime, 'NX')) !== 'OK') return undefined;
      if (waits && !(await isConfirmed(host, name))) {
        await client.eval(RELEASE, 1, name, id);
        return undefined;
      }
      say(kind, { e: 'grant', id, key, token: 0, limit: 1, until: start + leaseTime });
    } catch {
      return undefined;
    }
    /** Leads for `ms`, and renews the key as often as this library does. */
    const lead = async (ms: number): Promise<void> => {
      const end = start + ms;
      for (let until = start + leaseTime; now() < Math.min(end, until);) {
        await sleep(Math.min(leaseTime / 3, Math.max(0, end - now())));
        const at = now();
        try {
          if ((await client.eval(RENEW, 1, name, id, leaseTime)) !== 1) return;
          if (waits && !(await isConfirmed(host, name))) continue;
        } catch {
          continue;
        }
        until = at + leaseTime;
        say(kind, { e: 'valid', id, until });
      }
    };
    return {
      work: election ? lead : sleep,
      release: async () => {
        say(kind, { e: 'release', id });
        await client.eval(RELEASE, 1, name, id);
      },
    };
  };
}
