import type { CanActivate, ModuleMetadata, Type } from '@nestjs/common';

/** The options of `ReplicaLockBoardModule.forRoot`. */
export interface ReplicaLockBoardOptions {
  /**
   * The path of the page, behind the global prefix of the application.
   * @default 'locks'
   */
  path?: string | undefined;
  /**
   * The guards that decide who may see the board, as `@UseGuards` takes them. A browser opens the
   * page, so the guards must accept what a browser sends: a cookie, or HTTP Basic.
   *
   * Without guards the board refuses everyone, unless `NODE_ENV` is `development`.
   */
  guards?: readonly (Type<CanActivate> | CanActivate)[] | undefined;
  /** The modules that export what the guards inject. */
  imports?: ModuleMetadata['imports'] | undefined;
  /**
   * Lets the board take a key away from its holders.
   * @default false
   */
  allowForceRelease?: boolean | undefined;
  /**
   * The name of the module instance to show.
   * @default the unnamed instance
   */
  name?: string | undefined;
}

/** What the parts of one board know of its options. */
export interface BoardSettings {
  readonly path: string;
  /** The name of the module instance; undefined for the unnamed instance. */
  readonly name: string | undefined;
  readonly allowForceRelease: boolean;
  /** `refused`: no guard was given. `open`: neither, but this is development. */
  readonly access: 'guarded' | 'open' | 'refused';
}

export const BOARD_SETTINGS = Symbol('REPLICA_LOCK_BOARD_SETTINGS');
/** The token of the service that the board shows. */
export const BOARD_SERVICE = Symbol('REPLICA_LOCK_BOARD_SERVICE');

export function boardSettings({
  path = 'locks',
  guards = [],
  allowForceRelease = false,
  name,
}: ReplicaLockBoardOptions): BoardSettings {
  const isDevelopment = process.env['NODE_ENV'] === 'development';
  const access = guards.length > 0 ? 'guarded' : isDevelopment ? 'open' : 'refused';
  return { path, name, allowForceRelease, access };
}
