import { Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { HealthIndicatorService, type HealthIndicatorResult } from '@nestjs/terminus';
import { getLockServiceToken } from '../tokens.js';
import type { LockHealth } from '../lock/lock-info.js';
import type { LockService } from '../lock/lock-service.js';
import type { MasterHealth } from '../store/lock-store.js';
import { countReplicas, type ReplicaCounts } from '../store/replica-counts.js';

export interface ReplicaLockHealthOptions {
  /** The named instance to look at. Default: the unnamed one. */
  name?: string | undefined;
  /** Report `down` where locks are degraded: for a probe that shall take the application out of traffic then. Default: false. */
  degradedIsDown?: boolean | undefined;
}

/** What the check says beside its status. */
export interface ReplicaLockHealthDetails {
  /** `degraded`: new locks are refused for now, held ones go on. `down`: Redis cannot be used. */
  readonly locks: LockHealth['status'];
  /** Locks that this process holds. */
  readonly held: number;
  /** Locks that this process has lost since its start. */
  readonly lost: number;
  /** One entry a master; none in memory. */
  readonly masters: readonly MasterDetails[];
}

export interface MasterDetails {
  readonly address: string;
  readonly connected: boolean;
  /** Why it is not `up`, in words. */
  readonly reason?: string;
  /** What should be set otherwise, in words, although locks are granted. */
  readonly warnings?: readonly string[];
  readonly replicas: ReplicaCounts;
  /** ms until new locks are granted, 0 where they are. */
  readonly quarantine: number;
  /** Whether Redis tells of changes by client tracking. */
  readonly tracking: boolean;
}

/**
 * Tells `@nestjs/terminus` how the locks are; asks nobody, so it may be called as often as one likes. Provide it beside `TerminusModule`:
 *
 * ```ts
 * this.health.check([() => this.locks.isHealthy('locks')])
 * ```
 */
@Injectable()
export class ReplicaLockHealthIndicator {
  constructor(
    private readonly indicators: HealthIndicatorService,
    private readonly modules: ModuleRef,
  ) {}

  /**
   * `up`, `down`, or `degraded` where this Terminus knows that (12; before, it is `up` with `locks: 'degraded'`). Throws where `ReplicaLockModule` has no such
   * instance.
   */
  isHealthy<const Key extends string>(
    key: Key,
    { name, degradedIsDown = false }: ReplicaLockHealthOptions = {},
  ): HealthIndicatorResult<Key> {
    const service = this.modules.get<Partial<LockService>>(getLockServiceToken(name), { strict: false });
    const health = service.health?.();
    if (health === undefined) {
      throw new Error(
        "The object in the place of LockService has no health(): give it one, or use TestLocks of 'nestjs-replica-lock/testing'.",
      );
    }
    const session: Session<Key> = this.indicators.check(key);
    const details = { ...detailsOf(health) };
    if (health.status === 'up') return session.up(details);
    if (health.status === 'down' || degradedIsDown) return session.down(details);
    return session.degraded?.(details) ?? session.up(details);
  }
}

/** As far as every Terminus has it. */
interface Session<Key extends string> {
  up(details: Record<string, unknown>): HealthIndicatorResult<Key>;
  down(details: Record<string, unknown>): HealthIndicatorResult<Key>;
  degraded?(details: Record<string, unknown>): HealthIndicatorResult<Key>;
}

function detailsOf({ status, held, lost, masters }: LockHealth): ReplicaLockHealthDetails {
  return { locks: status, held, lost, masters: masters.map(masterDetailsOf) };
}

function masterDetailsOf({
  address,
  connected,
  reason,
  warnings,
  replicas: reports,
  quarantine,
  tracking,
}: MasterHealth): MasterDetails {
  const replicas = countReplicas(reports);
  const words = { ...(reason !== undefined && { reason }), ...(warnings !== undefined && { warnings }) };
  return { address, connected, ...words, replicas, quarantine, tracking };
}
