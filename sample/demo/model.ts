import type { Observable } from 'rxjs';

/*
 * What the demonstration shows: the engine fills it in, the terminal and the page draw it.
 *
 * Over HTTP, on the address that the demonstration prints:
 *
 *   GET  /state             a DemoState as JSON
 *   GET  /events            server-sent events: `happened` with a DemoEvent, `state` with a DemoState
 *   POST /actions/<name>    one of DemoActions; the body is the argument as JSON, or empty.
 *                           204: done. 409 { message }: not possible now, and why.
 *
 * All times are ms. Instants count from the start of the demonstration.
 */

/** The lock under which the shops pay: none, the usual `SET NX PX`, or a replica lock. */
export type LockKind = 'none' | 'usual' | 'replica';

export interface DemoState {
  readonly at: number;
  /** `rounds`: the demonstration acts, and actions are refused. `free`: actions are open. */
  readonly phase: 'starting' | 'rounds' | 'free' | 'ending';
  /** The round or step that runs, in words; the last one in phase `free`. */
  readonly title: string;
  /** The lock of the payments that are sent now: the switch of the page. */
  readonly lock: LockKind;
  /** Redis: one master, two replicas. Always three entries in the same order. */
  readonly servers: readonly ServerState[];
  readonly sentinels: readonly SentinelState[];
  readonly shops: readonly ShopState[];
  /** Locks that the present master has, usual and replica locks. */
  readonly locks: readonly LockState[];
  /** Payments that are not answered yet, oldest first. */
  readonly payments: readonly PaymentState[];
  readonly bank: BankState;
  /** The longest quarantine that a shop reports: no new replica lock for this time. 0: none. */
  readonly quarantine: number;
  /** The quarantine that the shops are configured with: the age from which a link counts. */
  readonly quarantineLength: number;
  /** What each lock let happen, from the start on. */
  readonly results: Readonly<Record<LockKind, LockResult>>;
}

/** All payments under one kind of lock. */
export interface LockResult {
  readonly payments: number;
  /** Payments that were answered with an error, such as 503. They charged nothing. */
  readonly refused: number;
  /** Orders that were charged. */
  readonly orders: number;
  /** Charges of an order that was charged before. */
  readonly doubleCharges: number;
  /** Masters that were killed while this lock was in use. */
  readonly kills: number;
}

export interface ServerState {
  /** `redis-1` to `redis-3`. */
  readonly name: string;
  /** `127.0.0.1:port` */
  readonly address: string;
  /**
   * As the server says itself; of a server that does not answer: what it said last. A dead server
   * counts as a replica, which it will be when it is started again.
   */
  readonly role: 'master' | 'replica';
  /**
   * `stopped`: SIGSTOP. `dead`: killed. `cut-off`: runs, but its link to the master is broken on
   * purpose.
   */
  readonly condition: 'running' | 'stopped' | 'dead' | 'cut-off';
  /** The replication offset: the bytes of the master's history that this server has. */
  readonly offset: number;
  /** The offset of the master minus this server's; 0 for the master, undefined without a master. */
  readonly behind: number | undefined;
  /** How long the link to the present master lasts. Undefined: the master, or no link. */
  readonly linkAge: number | undefined;
}

export interface SentinelState {
  /** `sentinel-1` to `sentinel-3`. */
  readonly name: string;
  readonly address: string;
  /** The server that this Sentinel names as the master. Undefined: no answer. */
  readonly master: string | undefined;
  /** Whether this Sentinel believes that the master is down. */
  readonly seesMasterDown: boolean;
}

export interface ShopState {
  /** `shop-1`, `shop-2`. */
  readonly name: string;
  /** `http://127.0.0.1:port` */
  readonly url: string;
  readonly condition: 'running' | 'stopped';
  /** `health().status` of the lock service. Undefined: no answer. */
  readonly status: 'up' | 'degraded' | 'down' | undefined;
  /** Why it is not `up`, in the words of `health()`. */
  readonly reason: string | undefined;
  /** Locks that this copy holds, and payments that wait in it. */
  readonly held: number;
  readonly waiting: number;
  readonly quarantine: number;
}

export interface LockState {
  /** The order whose payment is locked. */
  readonly order: string;
  readonly kind: Exclude<LockKind, 'none'>;
  /** The name of the shop that holds the lock. Undefined: a shop that is gone. */
  readonly holder: string | undefined;
  readonly remainingTime: number;
  /** Undefined for the usual lock, which has none. */
  readonly fencingToken: number | undefined;
}

export interface PaymentState {
  readonly id: number;
  readonly order: string;
  readonly shop: string;
  readonly lock: LockKind;
  readonly since: number;
  /** `waiting`: for the lock. `working`: this shop has the lock, or pays without one. */
  readonly step: 'waiting' | 'working';
}

export interface BankState {
  readonly charges: number;
  /** Charges of an order that was charged before. */
  readonly doubleCharges: number;
  /** Charges that the bank refused because their fencing token was smaller than the last one. */
  readonly refused: number;
  /** The last orders that the bank has charged, newest first, at most 120. */
  readonly orders: readonly {
    readonly order: string;
    readonly charges: number;
    readonly lock: LockKind;
  }[];
}

/** A line of the time line. */
export interface DemoEvent {
  /** Counts from 1; the `id` of the server-sent event. */
  readonly id: number;
  readonly at: number;
  readonly kind: 'round' | 'fault' | 'sentinel' | 'lock' | 'payment' | 'bank' | 'note';
  /** `bad`: an order was charged twice. `good`: what the demonstration hoped for. */
  readonly tone: 'plain' | 'good' | 'bad';
  /** One sentence, without a time and without a full stop. */
  readonly text: string;
}

/** Each action rejects with a {@link NotNow} if it is not possible now. */
export interface DemoActions {
  /**
   * `kill -9` for the master. With `lagging` the replicas stop first, payments of eight orders are
   * sent, and the replicas go on behind the kill: the last writes of the master are lost. The same
   * payments then come again by the other copy of the shop.
   */
  killMaster(argument?: { lagging?: boolean }): Promise<void>;
  /** Starts the servers that are dead, as replicas of the master. */
  startAgain(): Promise<void>;
  /** SIGSTOP for a replica that runs; SIGCONT for all that are stopped. */
  stopReplica(argument?: { name?: string }): Promise<void>;
  continueReplica(): Promise<void>;
  /** Breaks the link between a replica and the master; mends all broken links. */
  cutOff(argument?: { name?: string }): Promise<void>;
  reconnect(): Promise<void>;
  /** Sends payments of new orders to both copies in turn, two for each order. Does not wait. */
  pay(argument: { count: number }): Promise<void>;
  useLock(argument: { lock: LockKind }): Promise<void>;
}

export const ACTIONS = [
  'killMaster',
  'startAgain',
  'stopReplica',
  'continueReplica',
  'cutOff',
  'reconnect',
  'pay',
  'useLock',
] as const satisfies readonly (keyof DemoActions)[];

/** An action that is not possible now. The message says why. */
export class NotNow extends Error {}

/** What the page's server needs of the engine. */
export interface Demo {
  readonly actions: DemoActions;
  /** The last state that was seen, at most 0.3 s old. */
  state(): DemoState;
  /** All events from the start on, then those that happen. */
  readonly events: Observable<DemoEvent>;
}
