import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { socketFloors } from '../../bench/subjects/socket-floors.js';
import type { Locker } from '../../bench/subjects/subject.js';
import { startReplication, type Replication } from '../support/replication.js';

let servers: Replication;
beforeAll(async () => {
  servers = await startReplication({ replicas: 2 });
});
afterAll(() => servers.dispose());

async function connect(index: number): Promise<Locker> {
  return socketFloors[index]!.connect({ host: '127.0.0.1', port: servers.master.port });
}

describe.each(socketFloors.map(({ name }, index) => [name, index] as const))('The floor "%s"', (_, index) => {
  it('holds keys on all servers while the work runs, and none afterwards', async () => {
    const locker = await connect(index);
    const began: Promise<void>[] = [];
    const ended: Promise<void>[] = [];
    let release = (): void => {};
    const released = new Promise<void>((resolve) => (release = resolve));
    for (let i = 0; i < 50; i++) {
      began.push(
        new Promise((resolve) => {
          const work = (): Promise<void> => {
            resolve();
            return released;
          };
          ended.push(locker.hold(`floor:${index}:${i}`, work));
        }),
      );
    }
    await Promise.all(began);
    for (const server of [servers.master, ...servers.replicas]) {
      expect(await server.call('EXISTS', `floor:${index}:0`, `floor:${index}:49`)).toBe(2);
    }
    release();
    await Promise.all(ended);
    expect(await servers.master.call('DBSIZE')).toBe(0);
    await locker.close();
  });

  it('refuses a key that is held, and releases only its own', async () => {
    const locker = await connect(index);
    const release = await locker.acquire!('floor:busy');
    await expect(locker.acquire!('floor:busy')).rejects.toThrow('floor:busy was not taken');
    await servers.master.call('SET', 'floor:busy', 'another owner');
    await expect(release()).rejects.toThrow('floor:busy was no longer held');
    expect(await servers.master.call('GET', 'floor:busy')).toBe('another owner');
    await servers.master.call('DEL', 'floor:busy');
    await locker.close();
  });

  it('refuses a lock that only one of two replicas confirms', async () => {
    const locker = await connect(index);
    await servers.replica(0).stop();
    await expect(locker.acquire!('floor:unconfirmed')).rejects.toThrow('floor:unconfirmed was not taken');
    servers.replica(0).resume();
    await servers.waitUntilOnline();
    await servers.master.call('DEL', 'floor:unconfirmed');
    await locker.close();
  });
});
