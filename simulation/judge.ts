import { LockContendedError } from '../lib/lock/errors.js';
import type { Lock } from '../lib/lock/lock.js';
import { Elections, ELECTION_KEY } from './elections.js';
import type { Cost } from './excuses.js';
import { BUSY, RUSH } from './mild-faults.js';
import { ONCE_KEYS, OnceRuns } from './once-runs.js';
import {
  ALONE_KEYS,
  FOREIGN_KEY,
  FORBIDDEN_KEY,
  IDLE_TIMEOUT,
  LEASE,
  SHARED_KEYS,
  type Scene,
  type Worker,
} from './scene.js';
import type { SimServer } from './server.js';

/** ms by which the clocks of a process and of the world may differ over one lease, rounded up. */
const TOLERANCE = 25;

/**
 * ms from the end of all faults to the first grant. Sentinels replace a dead master and move the
 * replicas, and the replicas then follow the new master for a quarantine.
 */
const RECOVERY_TIME = 8_000;

/** Checks what must hold, whatever happens. */
export class Judge {
  /** Violated rules, each with the first case. */
  private readonly found = new Map<string, string>();
  /** The greatest token of each key, and the greatest of a lock that held the key alone. */
  private readonly lastToken = new Map<string, number>();
  private readonly lastTokenAlone = new Map<string, number>();
  /** Owners of locks that are renewed: such a lock ends only by a release. */
  private readonly renewed = new Set<string>();
  /** The holders of the foreign key that each process has met. */
  private readonly met = new Map<Worker, Set<string>>();
  grants = 0;
  private unblockedScripts = 0;
  readonly elections: Elections;
  readonly onceRuns: OnceRuns;

  constructor(private readonly scene: Scene) {
    const violate = (what: string, detail: string): void => this.violate(what, detail);
    this.elections = new Elections(scene, violate);
    this.onceRuns = new OnceRuns(scene, violate);
    for (const server of scene.servers)
      server.listener = {
        crashedByClient: () => this.violate('CLIENT UNBLOCK of a paused client ended the server'),
        // This may happen to a script behind the WAIT, if the server is paused while the UNBLOCK is
        // on its way: see `UnblockRules`. In a rush, and for the late renewals of a busy process,
        // many scripts stand there. Otherwise few do: about one schedule in 30,000 has one hit, and
        // none has two unless a rule is broken.
        scriptUnblocked: () => {
          const hasSecondGroups =
            !scene.weather.isMild || scene.happened.has(RUSH) || scene.happened.has(BUSY);
          if (!hasSecondGroups && ++this.unblockedScripts > 1)
            this.violate('CLIENT UNBLOCK hit paused scripts');
        },
        idleClientClosed: () =>
          this.wrong('refusal', scene.world.now - IDLE_TIMEOUT, 'an idle connection was closed', server.name),
      };
    for (const worker of scene.workers)
      worker.service.events.subscribe((event) => {
        if (event.type === 'lost' && this.renewed.has(event.owner))
          this.wrong('loss', scene.world.now, 'a renewed lock was lost', event.error.message);
      });
  }

  get violations(): string[] {
    return [...this.found].map(([what, detail]) => (detail === '' ? what : `${what} (${detail})`));
  }

  // --- for the processes

  granted(worker: Worker, lock: Lock, isRenewed: boolean): void {
    this.grants++;
    worker.held.add(lock);
    if (isRenewed) this.renewed.add(lock.owner);
    const { world } = this.scene;
    world.tell(
      worker.host.name,
      `holds ${lock.keys.join('+')} with ${lock.fencingToken}, confirmed by ${lock.confirmedBy}`,
    );
    for (const key of lock.keys) {
      const last = this.lastToken.get(key) ?? 0;
      // Two locks that hold a key at once may be told of their grants in either order.
      const before = (lock.limit === 1 ? last : this.lastTokenAlone.get(key)) ?? 0;
      if (lock.fencingToken <= before)
        this.violate('a token did not grow', `${key}: ${lock.fencingToken} after ${before}`);
      this.lastToken.set(key, Math.max(lock.fencingToken, last));
      if (lock.limit === 1) this.lastTokenAlone.set(key, lock.fencingToken);
    }
    this.checkConfirmation(lock);
    if (lock.keys.includes(FOREIGN_KEY)) this.checkForeign(worker);
  }

  /**
   * A lock that was asked for at `askedAt` was refused. `isFree`: no other process ever asks for
   * the key.
   */
  refused(worker: Worker, keys: readonly string[], error: unknown, askedAt: number, isFree: boolean): void {
    const { message } = error as Error;
    const owner = error instanceof LockContendedError ? error.owner : undefined;
    if (owner !== undefined && this.scene.foreign.has(owner))
      this.met.set(worker, (this.met.get(worker) ?? new Set()).add(owner));
    this.checkNeighbour(keys, message);
    if (isFree) this.wrong('refusal', askedAt, 'a free lock was refused', message);
  }

  async release(worker: Worker, lock: Lock): Promise<void> {
    const { world, watch } = this.scene;
    const calledAt = world.now;
    const { master } = watch;
    const { runId } = master;
    const wasHeld = lock.held;
    world.tell(worker.host.name, `releases ${lock.keys.join('+')} (${wasHeld ? 'held' : 'lost'})`);
    worker.held.delete(lock);
    let answer: boolean | string;
    try {
      answer = await lock.release();
    } catch (error) {
      answer = (error as Error).message;
      this.checkNeighbour(lock.keys, answer);
    }
    if (!wasHeld || answer === true) return;
    const ran = master.releasedAt.get(lock.owner);
    const isSame = watch.master === master && master.runId === runId && ran?.runId === runId;
    if (answer === false && isSame && ran.at >= calledAt && lock.keys.length === 1)
      this.violate('a release that had run was reported as a loss');
    this.wrong('loss', calledAt, 'the release of a held lock failed', String(answer));
  }

  /** An acquisition, the work and the release took `ms`. */
  ended(ms: number, bound: number): void {
    // A process may have been frozen meanwhile, but never for longer than this.
    if (ms > bound + 6_000) this.violate('an acquisition and its work took too long', `${ms.toFixed(0)} ms`);
  }

  // --- what the world shows

  /** A key never has more holders than each of them allows: with the limit 1, no two. */
  check(): void {
    this.elections.check();
    const holders = new Map<string, { readonly names: string[]; least: number }>();
    for (const { host, held } of this.scene.workers) {
      for (const lock of held) {
        if (!lock.held) {
          held.delete(lock);
          continue;
        }
        for (const key of lock.keys) {
          const found = holders.get(key);
          if (found === undefined) holders.set(key, { names: [host.name], least: lock.limit });
          else {
            found.names.push(host.name);
            found.least = Math.min(found.least, lock.limit);
          }
        }
      }
    }
    for (const [key, { names, least }] of holders)
      if (names.length > least)
        this.violate(
          'a key has more holders than one of them allows',
          `${key}: ${names.join(' and ')}, ${least}`,
        );
  }

  /**
   * All faults have just been mended, except full synchronisations that take up to `syncTime` ms:
   * the worker is granted a lock soon.
   */
  async checkFirstLock({ host, service }: Worker, syncTime: number): Promise<void> {
    const key = `first-${host.name}`;
    try {
      await (await service.acquire(key, { waitTime: RECOVERY_TIME + syncTime })).release();
    } catch (error) {
      this.violate('no lock soon after everything was mended', (error as Error).message);
    }
  }

  /** Every process is granted a lock again, and no key is busy without a holder. */
  async checkRecovery(from: number): Promise<void> {
    const { world, workers, servers, watch, weather, excuses } = this.scene;
    const answer = { isRight: false };
    const isExcused = !weather.isMild || excuses.cover('refusal', from);
    const last = workers.map(async ({ service, host }) => {
      const lock = await service.acquire(`last-${host.name}`, { waitTime: isExcused ? 9_000 : 0 });
      await lock.release();
    });
    void Promise.all(last).then(
      () => (answer.isRight = true),
      (error: unknown) => this.violate('no lock after everything was mended', (error as Error).message),
    );
    for (let more = 500; more <= 14_000 && !answer.isRight; more += 500)
      await world.runUntil(from + more, () => this.check());
    if (!answer.isRight) {
      this.violate('a lock was neither granted nor refused after everything was mended');
      for (const server of servers) world.tell(server.name, server.description);
      for (const { host, service } of workers) world.tell(host.name, JSON.stringify(service.health()));
    }
    const owners = workers.flatMap(({ held }) => [...held].map((lock) => lock.owner));
    for (const key of [...ALONE_KEYS, ...SHARED_KEYS, ELECTION_KEY, ...ONCE_KEYS])
      for (const owner of watch.master.holdersAt(`lock:${key}`))
        if (!owners.includes(owner))
          this.violate(
            'a key is busy without a holder',
            `${key}: ${owner} for ${watch.master.pttl(`lock:${key}`).toFixed(0)} ms`,
          );
  }

  /** After the close no timer, message or connection is left. */
  async checkEnd(): Promise<void> {
    const { world, workers, network } = this.scene;
    for (const { service } of workers) void service.close();
    await world.runUntil(world.now + 3_000, () => this.check());
    const left = world.pendingOf(workers.map(({ host }) => host));
    if (left > 0) this.violate('timers or messages are left after the close', String(left));
    if (network.connections.size > 0)
      this.violate('connections are left after the close', String(network.connections.size));
  }

  /**
   * A process that has met another program's long lease does not forget it. The process enters only
   * if it and the holders that it has met allow that many.
   */
  private checkForeign(worker: Worker): void {
    const { world, foreign, workers } = this.scene;
    const met = [...(this.met.get(worker) ?? [])].map((owner) => foreign.get(owner)!);
    const believing = met.filter(({ until }) => world.now < until);
    const locks = workers.flatMap(({ held }) =>
      [...held].filter((lock) => lock.held && lock.keys.includes(FOREIGN_KEY)),
    );
    const inside = [...believing, ...locks];
    if (believing.length > 0 && inside.length > Math.min(...inside.map(({ limit }) => limit)))
      this.violate(
        'a key was granted to a process that had met its holder, and the holder still believes in it',
      );
  }

  /**
   * Rules 1 and 2 of the quorum, checked by what the server knows: a majority has the write, over
   * links that are older than any lease.
   */
  private checkConfirmation(lock: Lock): void {
    const { servers } = this.scene;
    const known = servers
      .flatMap((server: SimServer) => server.written.get(lock.owner) ?? [])
      .toSorted((a, b) => b.at - a.at)[0];
    if (known === undefined) return this.violate('a lock was granted that no server has written');
    const sure = known.links.filter(
      ({ acknowledged, madeAt }) => acknowledged >= known.offset && madeAt <= known.at - LEASE + TOLERANCE,
    );
    const majority = Math.ceil((servers.length - 1) / 2);
    if (sure.length < majority)
      this.violate('a lock was granted without a majority of old links', `${sure.length} of ${majority}`);
  }

  private checkNeighbour(keys: readonly string[], message: string): void {
    if (message.includes('NOPERM') && !keys.includes(FORBIDDEN_KEY))
      this.violate("a request got its neighbour's error", message);
  }

  /**
   * A lock that had to be granted was lost or refused. A violation, unless a fault may be the
   * cause.
   */
  private wrong(cost: Cost, since: number, what: string, detail: string): void {
    const { weather, excuses } = this.scene;
    if (weather.isMild && !excuses.cover(cost, since)) this.violate(what, detail);
  }

  private violate(what: string, detail = ''): void {
    if (this.found.has(what)) return;
    this.scene.world.tell('CHECK', `${what} ${detail}`);
    this.found.set(what, detail);
  }
}
