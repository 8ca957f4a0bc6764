import type {
  AcquireRequest,
  Attempt,
  HeldKeys,
  KeyChange,
  MasterHealth,
  OwnedKeys,
  ReleaseOutcome,
  RenewOutcome,
  RenewPurpose,
  Unavailable,
  WatchOutcome,
} from '../lock-store.js';
import type { Command, Reply } from './resp.js';
import type { Session } from './connection/session.js';

/** All keys of one deployment, on however many masters they are. */
export interface Deployment {
  acquire(request: AcquireRequest): Attempt;
  renew(lock: HeldKeys, leaseTime: number, purpose: RenewPurpose): Promise<RenewOutcome>;
  release(lock: HeldKeys, cooldown: number): Promise<ReleaseOutcome>;
  watch(lock: OwnedKeys): Promise<WatchOutcome>;
  /** Asks the key's master something that must not stand behind a WAIT. */
  ask(key: string, commandsFor: (session: Session) => Command[]): Promise<Reply[] | Unavailable>;
  readonly hearsChanges: boolean;
  health(): readonly MasterHealth[];
  open(): void;
  close(): Promise<void>;
}

/** What a deployment tells its store. */
export interface DeploymentListener {
  onChange(change: KeyChange): void;
  onReport(level: 'log' | 'warn' | 'error', code: string, message: string): void;
}
