import type { Address, Command, Connection, Connector, Reply } from '../lib/store/redis/connection.js';
import type { SimSentinel } from './sentinel.js';
import type { ServerSide } from './server.js';
import { SimServer } from './server.js';
import type { SimHost, SimWorld } from './world.js';

type Target = SimServer | SimSentinel;

let connectionIds = 0;

/** Who cannot hear whom, and how long messages take. */
export class SimNetwork {
  private readonly cuts = new Set<string>();
  readonly connections = new Set<SimConnection>();

  constructor(
    readonly world: SimWorld,
    private readonly targets: ReadonlyMap<string, Target>,
    /** The share of messages that are lost once and sent again by TCP: what follows them on their connection waits, too. */
    public loss = 0,
  ) {}

  /** ms that the next message needs. */
  get delay(): number {
    const { dice } = this.world;
    return dice.chance(this.loss) ? dice.between(20, 600) : dice.between(0.05, 2);
  }

  canReach(a: SimHost, b: SimHost): boolean {
    return !this.cuts.has(`${a.name}|${b.name}`);
  }

  separate(some: readonly SimHost[], others: readonly SimHost[]): void {
    for (const a of some)
      for (const b of others) this.cuts.add(`${a.name}|${b.name}`).add(`${b.name}|${a.name}`);
  }

  heal(): void {
    this.cuts.clear();
  }

  connector(process: SimHost): Connector {
    return {
      connect: (address: Address) =>
        new Promise((resolve, reject) => {
          const target = this.targets.get(`${address.host}:${address.port}`);
          this.world.happen(this.world.dice.between(0.2, 3), process, () => {
            if (target === undefined || target.state === 'dead') reject(new Error('ECONNREFUSED'));
            else if (!this.canReach(process, target))
              process.after(500, () => reject(new Error('ETIMEDOUT')));
            // A frozen host's kernel accepts connections, too.
            else resolve(new SimConnection(this, process, target));
          });
        }),
    };
  }
}

/** One connection: messages of each way arrive in order, or not at all. */
export class SimConnection implements Connection {
  readonly id = ++connectionIds;
  private state: 'open' | 'ended' = 'open';
  private readonly waiting: ((reply: Reply) => void)[] = [];
  private readonly endListeners = new Set<(cause: unknown) => void>();
  private readonly channels = new Map<string, (payload: unknown) => void>();
  private requestsArriveAt = 0;
  private repliesArriveAt = 0;

  constructor(
    private readonly network: SimNetwork,
    private readonly process: SimHost,
    private readonly target: Target,
  ) {
    network.connections.add(this);
    const side: ServerSide = {
      id: this.id,
      reply: (value) => this.fromServer(() => this.waiting.shift()?.(value)),
      push: (channel, payload) => this.fromServer(() => this.channels.get(channel)?.(payload)),
      end: () => this.fromServer(() => this.end(new Error('closed by the server'))),
    };
    target.connect(side);
  }

  send(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    if (this.state === 'ended') return;
    for (const index of commands.keys()) this.waiting.push((reply) => onReply(reply, index));
    this.toServer(() => this.target.receive(this.id, commands));
  }

  subscribe(channel: string, onMessage: (payload: unknown) => void): Promise<void> {
    this.channels.set(channel, onMessage);
    return Promise.resolve();
  }

  onEnd(listener: (cause: unknown) => void): () => void {
    if (this.state === 'ended') listener(new Error('ended'));
    else this.endListeners.add(listener);
    return () => this.endListeners.delete(listener);
  }

  close(): void {
    this.end(new Error('closed'));
  }

  /** The network loses the connection: both sides notice, and what is on its way may still arrive at the server. */
  cut(): void {
    this.end(new Error('ECONNRESET'));
  }

  private end(cause: unknown): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    this.network.connections.delete(this);
    // Behind what has been sent: a closed connection's commands may still run.
    this.toServer(() => this.target.disconnect(this.id));
    this.waiting.length = 0;
    for (const listener of this.endListeners) listener(cause);
  }

  private toServer(arrive: () => void): void {
    const { world } = this.network;
    this.requestsArriveAt = Math.max(this.requestsArriveAt, world.now + this.network.delay) + 0.001;
    const deliver = (): void => {
      if (this.network.canReach(this.process, this.target)) arrive();
      else world.happen(40, this.target, deliver);
    };
    world.happen(this.requestsArriveAt - world.now, this.target, deliver);
  }

  private fromServer(arrive: () => void): void {
    const { world } = this.network;
    this.repliesArriveAt = Math.max(this.repliesArriveAt, world.now + this.network.delay) + 0.001;
    const deliver = (): void => {
      if (this.state === 'ended') return;
      if (this.network.canReach(this.process, this.target)) arrive();
      else world.happen(40, this.process, deliver);
    };
    world.happen(this.repliesArriveAt - world.now, this.process, deliver);
  }
}
