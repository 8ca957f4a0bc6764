import { ReplaySubject } from 'rxjs';
import {
  type Demo,
  type DemoActions,
  type DemoEvent,
  type DemoState,
  NotNow,
  type ServerState,
} from '../../sample/demo/model.js';

type Call = { readonly [A in keyof DemoActions]: readonly [A, unknown] }[keyof DemoActions];

export const QUARANTINE = 5_000;

function server(index: number, role: ServerState['role']): ServerState {
  return {
    name: `redis-${index}`,
    address: `127.0.0.1:${7000 + index}`,
    role,
    condition: 'running',
    offset: 48_210,
    behind: 0,
    linkAge: role === 'replica' ? 61_000 : undefined,
  };
}

const NOTHING = { payments: 0, refused: 0, orders: 0, doubleCharges: 0, kills: 0 };

/** A quiet demonstration before its first payment. */
export const AT_REST: DemoState = {
  at: 20_000,
  phase: 'free',
  title: 'The rounds are over',
  lock: 'usual',
  servers: [server(1, 'master'), server(2, 'replica'), server(3, 'replica')],
  sentinels: [1, 2, 3].map((i) => ({
    name: `sentinel-${i}`,
    address: `127.0.0.1:${7100 + i}`,
    master: 'redis-1',
    seesMasterDown: false,
  })),
  shops: [1, 2].map((i) => ({
    name: `shop-${i}`,
    url: `http://127.0.0.1:${7200 + i}`,
    condition: 'running',
    status: 'up',
    reason: undefined,
    held: 0,
    waiting: 0,
    quarantine: 0,
  })),
  locks: [],
  payments: [],
  bank: { charges: 0, doubleCharges: 0, refused: 0, orders: [] },
  quarantine: 0,
  quarantineLength: QUARANTINE,
  results: { none: NOTHING, usual: NOTHING, replica: NOTHING },
};

/** A demonstration without servers: a test says what it shows, and sees what the page asks for. */
export class StandInDemo implements Demo {
  readonly calls: Call[] = [];
  readonly events = new ReplaySubject<DemoEvent>();
  /** The next action is refused for this reason. */
  refusal: string | undefined;
  readonly actions: DemoActions = {
    killMaster: (argument) => this.called('killMaster', argument),
    startAgain: () => this.called('startAgain'),
    stopReplica: (argument) => this.called('stopReplica', argument),
    continueReplica: () => this.called('continueReplica'),
    cutOff: (argument) => this.called('cutOff', argument),
    reconnect: () => this.called('reconnect'),
    pay: (argument) => this.called('pay', argument),
    useLock: async (argument) => {
      await this.called('useLock', argument);
      this.show({ lock: argument.lock });
    },
  };
  private current = AT_REST;
  private lastId = 0;

  state(): DemoState {
    return this.current;
  }

  show(change: Partial<DemoState>): void {
    this.current = { ...this.current, ...change };
  }

  /** Changes some of the servers. */
  showServers(...changes: Partial<ServerState>[]): void {
    this.show({ servers: this.current.servers.map((each, i) => ({ ...each, ...changes[i] })) });
  }

  happen(text: string, event: Partial<DemoEvent> = {}): void {
    this.events.next({ id: ++this.lastId, at: this.current.at, kind: 'note', tone: 'plain', text, ...event });
  }

  private async called(name: Call[0], argument?: unknown): Promise<void> {
    this.calls.push([name, argument]);
    const { refusal } = this;
    this.refusal = undefined;
    if (refusal !== undefined) throw new NotNow(refusal);
  }
}
