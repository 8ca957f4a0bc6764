import { Redis } from 'ioredis';
import { loadPeer } from './peer.js';
import { LEASE, type Locker, type Server, type Subject } from './subject.js';

/*
 * redlock 4 and 5, the maintained fork of redlock, and the Nest module on top of redlock 5, with
 * one master as in most applications. Their polling has the default settings, except for the number
 * of tries.
 */

interface Redlock4 {
  lock(key: string, ttl: number): Promise<{ unlock(): Promise<void> }>;
}
interface Redlock5 {
  acquire(keys: string[], ttl: number): Promise<{ release(): Promise<unknown> }>;
  using<T>(
    keys: string[],
    ttl: number,
    settings: object,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T>;
  on(event: 'error', listener: () => void): void;
}
type Constructor<T> = new (clients: Redis[], settings: object) => T;

const UNLIMITED = { retryCount: -1 };

const redlock4: Subject = {
  name: 'redlock 4',
  kind: 'peer',
  confirmed: false,
  waits: true,
  async connect(server): Promise<Locker> {
    const client = new Redis(server);
    const redlock = new (loadPeer<Constructor<Redlock4>>('redlock4'))([client], UNLIMITED);
    return {
      async hold(key, work) {
        const lock = await redlock.lock(key, LEASE);
        await work();
        await lock.unlock();
      },
      close: async () => client.disconnect(),
    };
  },
};

function redlock5(name: string, load: () => Constructor<Redlock5>): Subject {
  return {
    name,
    kind: 'peer',
    confirmed: false,
    waits: true,
    async connect(server): Promise<Locker> {
      const client = new Redis(server);
      const redlock = new (load())([client], UNLIMITED);
      redlock.on('error', () => {});
      return {
        async hold(key, work) {
          const lock = await redlock.acquire([key], LEASE);
          await work();
          await lock.release();
        },
        holdUntilLost: (key, leaseTime, onLost) => holdUsing(redlock, key, leaseTime, onLost),
        close: async () => client.disconnect(),
      };
    },
  };
}

/** Resolves when the lock is held. The work then runs until the library reports the loss. */
function holdUsing(redlock: Redlock5, key: string, leaseTime: number, onLost: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const settings = { retryCount: 10 };
    const work = (signal: AbortSignal): Promise<void> =>
      new Promise((end) => {
        signal.addEventListener('abort', () => {
          onLost();
          end();
        });
        resolve();
      });
    // The release fails, because the key is gone.
    redlock.using([key], leaseTime, settings, work).catch(reject);
  });
}

/** Calls the service as the library's decorator does. */
const anchan: Subject = {
  name: '@anchan828/nest-redlock',
  kind: 'peer',
  confirmed: false,
  waits: true,
  async connect(server: Server): Promise<Locker> {
    const client = new Redis(server);
    const { RedlockService } = loadPeer<{
      RedlockService: new (options: { clients: Redis[]; settings: object }) => Redlock5;
    }>('@anchan828/nest-redlock');
    const redlock = new RedlockService({ clients: [client], settings: UNLIMITED });
    redlock.on('error', () => {});
    return {
      hold: (key, work) => redlock.using([key], LEASE, {}, async () => work()),
      close: async () => client.disconnect(),
    };
  },
};

export const redlocks: readonly Subject[] = [
  redlock4,
  redlock5('redlock 5', () => loadPeer<{ default: Constructor<Redlock5> }>('redlock5').default),
  redlock5(
    '@sesamecare-oss/redlock',
    () => loadPeer<{ Redlock: Constructor<Redlock5> }>('@sesamecare-oss/redlock').Redlock,
  ),
  anchan,
];
