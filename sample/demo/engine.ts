import type { Observable } from 'rxjs';
import { FailOver } from './fail-over.js';
import { type Demo, type DemoActions, type DemoEvent, type DemoState, NotNow } from './model.js';
import { Monitor } from './monitor.js';
import { Payments } from './payments.js';
import { until } from './processes.js';
import type { SentinelReport } from './redis.js';
import type { RedisServer } from './redis-server.js';
import type { Scene } from './scene.js';
import { messageOf } from './terminal.js';

const SENTINELS_SAY: Readonly<Record<SentinelReport['kind'], (server: string) => string>> = {
  'seen-down': (server) => `a Sentinel has had no answer from ${server} for 2 s`,
  'agreed-down': (server) => `two of three Sentinels agree: ${server} is down`,
  promoted: (server) => `${server} is promoted: the new master`,
};

/** The scene, as the page sees and changes it. */
export class Engine implements Demo {
  private readonly monitor: Monitor;
  private numberOfPays = 0;
  /** The kill of a lagging master, with its payments, until all of them are answered. */
  private story: Promise<void> | undefined;

  constructor(private readonly scene: Scene) {
    this.monitor = new Monitor(scene);
    void this.monitor.run();
    scene.redis.reports.subscribe(({ kind, server }) =>
      scene.timeLine.add('sentinel', SENTINELS_SAY[kind](server.name)),
    );
    scene.bank.charged.subscribe(({ order, charges }) => {
      if (charges > 1 && scene.phase === 'free')
        scene.timeLine.add(
          'bank',
          `${order} is charged ${charges === 2 ? 'twice' : `${charges} times`}`,
          'bad',
        );
    });
  }

  state(): DemoState {
    return this.monitor.state();
  }

  get events(): Observable<DemoEvent> {
    return this.scene.timeLine.events;
  }

  readonly actions: DemoActions = {
    killMaster: async ({ lagging = false } = {}) => {
      const master = this.runningMaster();
      if (lagging) return this.killLaggingMaster();
      await this.scene.killMaster();
      this.say('fault', `kill -9 for the master, ${master.name}`);
    },

    startAgain: async () => {
      this.check();
      const started = await this.scene.redis.startAgain();
      if (started.length === 0) throw new NotNow('No server is dead');
      this.say('note', `started again as a replica: ${namesOf(started)}`);
    },

    stopReplica: async ({ name } = {}) => {
      const replica = this.runningReplica(name);
      replica.stop();
      this.say('fault', `${replica.name} stops (SIGSTOP)`);
    },

    continueReplica: async () => {
      this.check();
      const stopped = this.scene.redis.continueReplicas();
      if (stopped.length === 0) throw new NotNow('No replica is stopped');
      this.say('note', `running again (SIGCONT): ${namesOf(stopped)}`);
    },

    cutOff: async ({ name } = {}) => {
      const replica = this.runningReplica(name);
      await this.scene.redis.cutOff(replica);
      this.say('fault', `the link between ${replica.name} and the master breaks`);
    },

    reconnect: async () => {
      this.check();
      const mended = await this.scene.redis.reconnect();
      if (mended.length === 0) throw new NotNow('No replica is cut off');
      this.say('note', `linked with the master again: ${namesOf(mended)}`);
    },

    pay: async ({ count }) => {
      this.check();
      const payments = new Payments(this.scene, this.scene.lock, `order-${++this.numberOfPays}`);
      void this.tell(this.payAll(payments, count));
    },

    useLock: async ({ lock }) => {
      this.check();
      this.scene.lock = lock;
    },
  };

  /** Returns when the master is dead. The rest of the story goes on. */
  private async killLaggingMaster(): Promise<void> {
    const { redis } = this.scene;
    if (this.story !== undefined) throw new NotNow('The last kill is not over: payments still wait');
    if (redis.replicas.some(({ condition }) => condition !== 'running'))
      throw new NotNow('Both replicas must run and follow the master before they can lag behind it');
    const payments = new Payments(this.scene, this.scene.lock, `order-${++this.numberOfPays}`);
    const { master } = redis;
    this.story = this.tell(new FailOver(this.scene, payments).run({ freeze: false })).finally(() => {
      this.story = undefined;
    });
    await Promise.race([this.story, until('the master is dead', () => master.condition === 'dead')]);
  }

  private async payAll(payments: Payments, count: number): Promise<void> {
    const orders = payments.names('payment', Math.ceil(count / 2));
    const { shops } = this.scene;
    const answers = await Promise.all(
      Array.from({ length: count }, (_, i) => payments.pay(shops[i % 2]!, orders[Math.floor(i / 2)]!)),
    );
    const paid = answers.filter(({ status }) => status === 201).length;
    const refused = payments.refused === 0 ? '' : `, ${payments.refused} refused: nothing is charged`;
    this.say('payment', `${count} payments of ${orders.length} orders: ${paid} paid${refused}`);
  }

  /** An error of a story is a line of the time line: the page goes on. */
  private async tell(story: Promise<unknown>): Promise<void> {
    try {
      await story;
    } catch (error) {
      this.say('note', `given up: ${messageOf(error)}`);
    }
  }

  private say(kind: DemoEvent['kind'], text: string): void {
    this.scene.timeLine.add(kind, text);
  }

  private check(): void {
    if (this.scene.phase !== 'free') throw new NotNow('The rounds are not over yet');
  }

  private runningMaster(): RedisServer {
    this.check();
    const { master } = this.scene.redis;
    if (master.condition === 'dead')
      throw new NotNow('There is no master: the Sentinels promote a replica first');
    return master;
  }

  private runningReplica(name: string | undefined): RedisServer {
    this.check();
    const { replicas, servers } = this.scene.redis;
    if (name !== undefined && !servers.some((server) => server.name === name))
      throw new NotNow(`There is no server '${name}'`);
    const replica = replicas.find(
      (each) => each.condition === 'running' && (name === undefined || each.name === name),
    );
    if (replica !== undefined) return replica;
    throw new NotNow(name === undefined ? 'No replica runs' : `${name} is no replica that runs`);
  }
}

function namesOf(servers: readonly RedisServer[]): string {
  return servers.map(({ name }) => name).join(' and ');
}
