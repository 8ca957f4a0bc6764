import type { Connection, Connector } from '../lib/store/redis/connection/connection.js';
import type { Address, Command, Reply } from '../lib/store/redis/resp.js';
import { scriptCalledBy, type ScriptName } from './scripts.js';
import type { SimSentinel } from './sentinel.js';
import { SimServer, type ServerSide } from './server.js';
import type { SimHost, SimWorld } from './world.js';

type Target = SimServer | SimSentinel;

/** ms */
const CONNECT_TIMEOUT = 1_000;

let connectionIds = 0;

/** Which hosts cannot hear each other, and how long messages take. */
export class SimNetwork {
  private readonly cuts = new Set<string>();
  /** Servers and Sentinels that accept connections and commands but never answer. */
  private readonly silent = new Set<Target>();
  /** How many of the next answers to a script are lost, each together with the connection. */
  private readonly answersToLose = new Map<ScriptName, number>();
  readonly connections = new Set<SimConnection>();

  constructor(
    readonly world: SimWorld,
    private readonly targets: ReadonlyMap<string, Target>,
    /**
     * The share of messages that are lost once and sent again by TCP. Messages behind such a
     * message wait too.
     */
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

  /**
   * From now on a connection over which the target is asked stays silent for ever, and so does a
   * new one.
   */
  silence(target: Target): void {
    this.silent.add(target);
  }

  /** New connections are answered again. */
  endSilence(target: Target): void {
    this.silent.delete(target);
  }

  isSilent(target: Target): boolean {
    return this.silent.has(target);
  }

  loseAnswers(script: ScriptName, count: number): void {
    this.answersToLose.set(script, count);
  }

  /** True if the answer to this command is lost. The server has executed the command. */
  losesAnswer(command: Command): boolean {
    if (this.answersToLose.size === 0) return false;
    const script = scriptCalledBy(command);
    const left = script === undefined ? 0 : (this.answersToLose.get(script) ?? 0);
    if (left === 0) return false;
    this.answersToLose.set(script!, left - 1);
    return true;
  }

  heal(): void {
    this.cuts.clear();
    this.silent.clear();
    this.answersToLose.clear();
  }

  connector(process: SimHost): Connector {
    return {
      connectTimeout: CONNECT_TIMEOUT,
      connect: (address: Address, _label: string, signal: AbortSignal) =>
        new Promise((resolve, reject) => {
          const target = this.targets.get(`${address.host}:${address.port}`);
          const { world } = this;
          const onAbort = (): void => reject(signal.reason as Error);
          signal.addEventListener('abort', onAbort, { once: true });
          const outcome = (): void => {
            if (signal.aborted) return;
            if (target === undefined || target.state === 'dead') reject(new Error('ECONNREFUSED'));
            else if (!this.canReach(process, target))
              world.happen(500, process, () => reject(new Error('ETIMEDOUT')), 'socket');
            // The kernel of a frozen host accepts connections too.
            else resolve(new SimConnection(this, process, target));
          };
          world.happen(world.dice.between(0.2, 3), process, outcome, 'socket');
        }),
    };
  }
}

/** One connection. The messages of each direction arrive in order, or not at all. */
export class SimConnection implements Connection {
  readonly id = ++connectionIds;
  private state: 'open' | 'ended' = 'open';
  private readonly waiting: { command: Command; onReply: (reply: Reply) => void }[] = [];
  private readonly endListeners = new Set<(cause: unknown) => void>();
  private readonly channels = new Map<string, (payload: unknown) => void>();
  private requestsArriveAt = 0;
  private repliesArriveAt = 0;
  /** On their way, oldest first. */
  private readonly requests: (() => void)[] = [];
  private readonly replies: (() => void)[] = [];
  private readonly side: ServerSide;
  /** Commands are accepted and never read. */
  private isSilent: boolean;

  constructor(
    private readonly network: SimNetwork,
    private readonly process: SimHost,
    private readonly target: Target,
  ) {
    network.connections.add(this);
    this.isSilent = network.isSilent(target);
    this.side = {
      id: this.id,
      isSubscribed: false,
      reply: (value) => this.fromServer(() => this.onReply(value)),
      push: (channel, payload) => this.fromServer(() => this.channels.get(channel)?.(payload)),
      end: () => this.fromServer(() => this.end(new Error('closed by the server'))),
    };
    target.connect(this.side);
  }

  send(commands: readonly Command[], onReply: (reply: Reply, index: number) => void): void {
    if (this.state === 'ended') return;
    for (const [index, command] of commands.entries())
      this.waiting.push({ command, onReply: (reply) => onReply(reply, index) });
    this.toServer(() => {
      this.isSilent ||= this.network.isSilent(this.target);
      if (!this.isSilent) this.target.receive(this.id, commands);
    });
  }

  subscribe(channel: string, onMessage: (payload: unknown) => void): Promise<void> {
    this.channels.set(channel, onMessage);
    return new Promise((resolve, reject) => {
      const stopListening = this.onEnd(reject);
      this.send([['subscribe', channel]], () => {
        stopListening();
        this.side.isSubscribed = true;
        resolve();
      });
    });
  }

  onEnd(listener: (cause: unknown) => void): () => void {
    if (this.state === 'ended') listener(new Error('ended'));
    else this.endListeners.add(listener);
    return () => this.endListeners.delete(listener);
  }

  close(): void {
    this.end(new Error('closed'));
  }

  /**
   * The network loses the connection. Both sides notice, and messages that are under way may still
   * reach the server.
   */
  cut(): void {
    this.end(new Error('ECONNRESET'));
  }

  private onReply(value: Reply): void {
    const answered = this.waiting.shift();
    if (answered === undefined) return;
    if (this.network.losesAnswer(answered.command)) this.cut();
    else answered.onReply(value);
  }

  private end(cause: unknown): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    this.network.connections.delete(this);
    // Behind all messages that have been sent: commands of a closed connection may still run.
    this.toServer(() => this.target.disconnect(this.id));
    this.waiting.length = 0;
    for (const listener of this.endListeners) listener(cause);
  }

  private toServer(arrive: () => void): void {
    const { world } = this.network;
    this.requestsArriveAt = Math.max(this.requestsArriveAt, world.now + this.network.delay) + 0.001;
    this.requests.push(arrive);
    // A partition holds messages back but keeps their order: each event delivers the oldest.
    const deliver = (): void => {
      if (this.network.canReach(this.process, this.target)) this.requests.shift()?.();
      else world.happen(40, this.target, deliver);
    };
    world.happen(this.requestsArriveAt - world.now, this.target, deliver);
  }

  private fromServer(arrive: () => void): void {
    const { world } = this.network;
    this.repliesArriveAt = Math.max(this.repliesArriveAt, world.now + this.network.delay) + 0.001;
    this.replies.push(arrive);
    const deliver = (): void => {
      if (this.state === 'ended') return;
      if (this.network.canReach(this.process, this.target)) this.replies.shift()?.();
      else world.happen(40, this.process, deliver, 'socket');
    };
    world.happen(this.repliesArriveAt - world.now, this.process, deliver, 'socket');
  }
}
