import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { inGroups, refused } from './group-commit.js';
import { LEASE, type Locker, type Server, type Subject } from './subject.js';

/*
 * The least cost of a lock: the bare commands, without a library.
 */

const COMPARE_AND_DELETE = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0`;

interface Releasing extends Redis {
  compareAndDelete(key: string, owner: string): Promise<number>;
}

async function connect(server: Server, enableAutoPipelining: boolean): Promise<Releasing> {
  const client = new Redis({ ...server, enableAutoPipelining, lazyConnect: true });
  await client.connect();
  client.defineCommand('compareAndDelete', { numberOfKeys: 1, lua: COMPARE_AND_DELETE });
  return client as Releasing;
}

/** SET NX PX, and a script that compares and deletes, as every library on a single master does. */
function unconfirmed(name: string, autoPipelining: boolean): Subject {
  return {
    name,
    kind: 'floor',
    confirmed: false,
    waits: false,
    async connect(server): Promise<Locker> {
      const client = await connect(server, autoPipelining);
      return {
        async hold(key, work) {
          const owner = randomUUID();
          if ((await client.set(key, owner, 'PX', LEASE, 'NX')) !== 'OK') throw refused(key);
          await work();
          await client.compareAndDelete(key, owner);
        },
        close: async () => client.disconnect(),
      };
    },
  };
}

/** The naive confirmed lock: SET and WAIT in one pipeline, on a connection for each caller. */
const waitEach: Subject = {
  name: 'SET+WAIT, a connection per caller',
  kind: 'floor',
  confirmed: true,
  waits: false,
  async connect(server): Promise<Locker> {
    const all: Releasing[] = [];
    const free: Releasing[] = [];
    const disconnectAll = (): void => {
      for (const client of all.splice(0)) client.disconnect();
      free.length = 0;
    };
    return {
      async hold(key, work) {
        let client = free.pop();
        if (client === undefined) all.push((client = await connect(server, false)));
        const owner = randomUUID();
        const [set, wait] =
          (await client.pipeline().set(key, owner, 'PX', LEASE, 'NX').wait(2, 1_000).exec()) ?? [];
        if (set?.[1] !== 'OK' || Number(wait?.[1]) < 2) throw refused(key);
        await work();
        await client.compareAndDelete(key, owner);
        free.push(client);
      },
      rest: disconnectAll,
      close: async () => disconnectAll(),
    };
  },
};

/**
 * All waiting SETs in one pipeline under one WAIT. Releases go over a second connection,
 * pipelined by ioredis. With `questions` the pipeline also has INFO on both sides of WAIT, and
 * CLIENT LIST: the cost of knowing which replicas confirmed.
 */
function grouped(name: string, questions: boolean): Subject {
  return {
    name,
    kind: 'floor',
    confirmed: true,
    waits: false,
    connect: (server) => connectGrouped(server, questions),
  };
}

async function connectGrouped(server: Server, questions: boolean): Promise<Locker> {
  const commit = await connect(server, false);
  const control = await connect(server, true);
  const take = inGroups(async (group) => {
    const pipeline = commit.pipeline();
    for (const { key, owner } of group) pipeline.set(key, owner, 'PX', LEASE, 'NX');
    if (questions) pipeline.info('replication');
    pipeline.wait(2, 1_000);
    if (questions) pipeline.info('replication').client('LIST', 'TYPE', 'REPLICA');
    const replies = (await pipeline.exec()) ?? [];
    const isConfirmed = Number(replies[group.length + (questions ? 1 : 0)]?.[1]) >= 2;
    return group.map((_, index) => isConfirmed && replies[index]?.[1] === 'OK');
  });
  return {
    async hold(key, work) {
      const owner = randomUUID();
      await take(key, owner);
      await work();
      await control.compareAndDelete(key, owner);
    },
    async acquire(key) {
      const owner = randomUUID();
      await take(key, owner);
      return () => control.compareAndDelete(key, owner);
    },
    close: async () => [commit, control].forEach((client) => client.disconnect()),
  };
}

export const GROUP_COMMIT = 'group commit';
export const SET_NX = 'SET NX';
export const SET_NX_PIPELINED = 'SET NX, auto-pipelined';

export const floors: readonly Subject[] = [
  unconfirmed(SET_NX, false),
  unconfirmed(SET_NX_PIPELINED, true),
  waitEach,
  grouped(GROUP_COMMIT, false),
  grouped('group commit that asks who confirmed', true),
];
