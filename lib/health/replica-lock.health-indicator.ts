import { Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { HealthIndicatorService, type HealthIndicatorResult } from '@nestjs/terminus';
import { getLockServiceToken } from '../tokens.js';
import type { LockHealth } from '../lock/lock-info.js';
import type { LockService } from '../lock/lock-service.js';
import type { MasterHealth } from '../store/lock-store.js';
import { countReplicas, type ReplicaCounts } from '../store/replica-counts.js';

/** The options of `ReplicaLockHealthIndicator.isHealthy`. */
export interface ReplicaLockHealthOptions {
  /**
   * The name of the module instance to check.
   * @default the unnamed instance
   */
  name?: string | undefined;
  /**
   * Report `down` if locks are degraded: for a probe that takes the application out of traffic
   * then.
   * @default false
   */
  degradedIsDown?: boolean | undefined;
}

/** The details that the check reports beside its status. */
export interface ReplicaLockHealthDetails {
  /**
   * `up`: locks are granted. `degraded`: new locks are refused for now, held locks are kept.
   * `down`: Redis cannot be used.
   */
  readonly locks: LockHealth['status'];
  /** The number of locks that this process holds. */
  readonly held: number;
  /** The number of locks that this process has lost since the start. */
  readonly lost: number;
  /** One entry for each master. Empty if the locks are in memory. */
  readonly masters: readonly MasterDetails[];
}

/** One master and its replicas. */
export interface MasterDetails {
  /** `host:port`. */
  readonly address: string;
  readonly connected: boolean;
  /** Why the master is not `up`, as text. */
  readonly reason?: string;
  /** Settings that should be changed although locks are granted, as text. */
  readonly warnings?: readonly string[];
  readonly replicas: ReplicaCounts;
  /** ms until the quarantine ends; 0 if there is none. Other refusals are in `reason`. */
  readonly quarantine: number;
  /** Whether Redis reports changed keys by client tracking. */
  readonly tracking: boolean;
}

/**
 * A health check for `@nestjs/terminus`. Provide the indicator beside `TerminusModule`. A check
 * sends nothing to Redis, so checks may be as frequent as a probe needs.
 * @example
 * ```ts
 * @Get('health')
 * @HealthCheck()
 * check() {
 *   return this.health.check([() => this.locks.isHealthy('locks')]);
 * }
 * ```
 */
@Injectable()
export class ReplicaLockHealthIndicator {
  constructor(
    private readonly indicators: HealthIndicatorService,
    private readonly modules: ModuleRef,
  ) {}

  /**
   * Reports `up`, `degraded` or `down`. Terminus knows `degraded` from version 12 on: before, the
   * report is `up` with `locks: 'degraded'`.
   * @param key The name of this check in the report.
   * @throws UnknownElementException if `ReplicaLockModule` has no instance of this name.
   */
  isHealthy<const Key extends string>(
    key: Key,
    { name, degradedIsDown = false }: ReplicaLockHealthOptions = {},
  ): HealthIndicatorResult<Key> {
    const service = this.modules.get<Partial<LockService>>(getLockServiceToken(name), { strict: false });
    const health = service.health?.();
    if (health === undefined) {
      throw new Error(
        "The object in place of LockService has no health(): add the method, or use TestLocks of 'nestjs-replica-lock/testing'.",
      );
    }
    const session: Session<Key> = this.indicators.check(key);
    const details = { ...detailsOf(health) };
    if (health.status === 'up') return session.up(details);
    if (health.status === 'down' || degradedIsDown) return session.down(details);
    return session.degraded?.(details) ?? session.up(details);
  }
}

/** Terminus' session of one check. Versions before 12 have no `degraded`. */
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
