import type {
  AcquireRequest,
  Attempt,
  HeldKeys,
  KeyChange,
  ListOutcome,
  ListRequest,
  MasterHealth,
  OwnedKeys,
  ReleaseOutcome,
  Renewal,
  RenewPurpose,
  Unavailable,
  WatchOutcome,
} from '../lock-store.js';
import type { Command, Reply } from './resp.js';
import type { Session } from './connection/session.js';

/** All masters that hold the keys of one store: a single master or a Cluster. */
export interface Deployment {
  acquire(request: AcquireRequest): Attempt;
  renew(lock: HeldKeys, leaseTime: number, purpose: RenewPurpose): Renewal;
  release(lock: HeldKeys, cooldown: number): Promise<ReleaseOutcome>;
  watch(lock: OwnedKeys): Promise<WatchOutcome>;
  /** Sends commands to the key's master on a connection that no WAIT blocks. */
  ask(key: string, commandsFor: (session: Session) => Command[]): Promise<Reply[] | Unavailable>;
  /** One page of the keys of one master after the other: see `LockStore.list`. */
  list(request: ListRequest): Promise<ListOutcome>;
  readonly hearsChanges: boolean;
  health(): readonly MasterHealth[];
  open(): void;
  close(): Promise<void>;
}

/** The events that a deployment reports to the store. */
export interface DeploymentListener {
  onChange(change: KeyChange): void;
  onReport(level: 'log' | 'warn' | 'error', code: string, message: string): void;
}
