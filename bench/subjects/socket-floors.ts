import { randomUUID } from 'node:crypto';
import { inGroups, type Wanted } from './group-commit.js';
import { command, RawConnection } from './raw-connection.js';
import { LEASE, type Locker, type Server, type Subject } from './subject.js';

/*
 * The least cost of a confirmed lock in Node: the group commit of floors.ts over two bare sockets,
 * without a client library, and with one script for all releases of a turn.
 */

/** Deletes each key that its owner still holds. Replies 1 or 0 for each key. */
const COMPARE_AND_DELETE = `
local deleted = {}
for i, key in ipairs(KEYS) do
  if redis.call('get', key) == ARGV[i] then deleted[i] = redis.call('del', key) else deleted[i] = 0 end
end
return deleted`;

/** More releases in one script would keep the master from other commands for over a millisecond. */
const MAX_RELEASES = 1_024;

const INFO = command('INFO', 'replication');
const WAIT = command('WAIT', '2', '1000');
const CLIENT_LIST = command('CLIENT', 'LIST', 'TYPE', 'REPLICA');

interface Leaving extends Wanted {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** `asks`: each group also asks what a confirmation needs: INFO on both sides of WAIT, CLIENT LIST. */
function bareSocket(name: string, asks: boolean): Subject {
  return {
    name,
    kind: 'floor',
    confirmed: true,
    waits: false,
    async connect(server): Promise<Locker> {
      const commit = await RawConnection.open(server);
      const releasing = await connectReleases(server);
      const take = inGroups((group) => commitGroup(commit, group, asks));
      return {
        async hold(key, work) {
          const owner = randomUUID();
          await take(key, owner);
          await work();
          await releasing.release(key, owner);
        },
        async acquire(key) {
          const owner = randomUUID();
          await take(key, owner);
          return () => releasing.release(key, owner);
        },
        async close() {
          commit.close();
          releasing.close();
        },
      };
    },
  };
}

async function commitGroup(
  connection: RawConnection,
  group: readonly Wanted[],
  asks: boolean,
): Promise<readonly boolean[]> {
  let commands = '';
  for (const { key, owner } of group) commands += command('SET', key, owner, 'NX', 'PX', String(LEASE));
  commands += asks ? INFO + WAIT + INFO + CLIENT_LIST : WAIT;
  const replies = await connection.request(commands, group.length + (asks ? 4 : 1));
  const acknowledged = replies[group.length + (asks ? 1 : 0)];
  const isConfirmed = Number(acknowledged) >= 2 && (!asks || areAnswers(replies.slice(group.length)));
  return group.map((_, index) => isConfirmed && replies[index] === 'OK');
}

/** The server was a master before and after WAIT, and listed its replicas. */
function areAnswers([before, , after, replicas]: readonly unknown[]): boolean {
  return [before, after].every((info) => String(info).includes('role:master')) && replicas !== '';
}

/** A connection for releases. All releases of one turn of the event loop are one script call. */
async function connectReleases(
  server: Server,
): Promise<{ release(key: string, owner: string): Promise<void>; close(): void }> {
  const connection = await RawConnection.open(server);
  const [sha] = await connection.request(command('SCRIPT', 'LOAD', COMPARE_AND_DELETE), 1);
  let leaving: Leaving[] = [];
  const send = async (group: readonly Leaving[]): Promise<void> => {
    const keys = group.map(({ key }) => key);
    const owners = group.map(({ owner }) => owner);
    try {
      const call = command('EVALSHA', String(sha), String(keys.length), ...keys, ...owners);
      const [deleted] = await connection.request(call, 1);
      if (!Array.isArray(deleted)) throw deleted instanceof Error ? deleted : new Error('No array');
      group.forEach(({ key, resolve, reject }, index) => {
        if (deleted[index] === 1) resolve();
        else reject(new Error(`${key} was no longer held`));
      });
    } catch (error) {
      for (const { reject } of group) reject(error as Error);
    }
  };
  const sendAll = (): void => {
    const all = leaving;
    leaving = [];
    for (let i = 0; i < all.length; i += MAX_RELEASES) void send(all.slice(i, i + MAX_RELEASES));
  };
  return {
    release: (key, owner) =>
      new Promise((resolve, reject) => {
        if (leaving.push({ key, owner, resolve, reject }) === 1) process.nextTick(sendAll);
      }),
    close: () => connection.close(),
  };
}

export const BARE_SOCKET = 'bare socket';
export const BARE_SOCKET_ASKING = 'bare socket that asks who confirmed';

export const socketFloors: readonly Subject[] = [
  bareSocket(BARE_SOCKET, false),
  bareSocket(BARE_SOCKET_ASKING, true),
];
