import type { Checker } from './checker.js';
import type { Deployment, Setup } from './deployment.js';
import type { Host, Hosts } from './hosts.js';
import type { Program } from './server.js';

/** What a fault may use and change. */
export interface Scene<D extends Setup = Deployment> {
  readonly deployment: D;
  readonly hosts: Hosts;
  readonly workers: readonly Program[];
  readonly workerHosts: readonly Host[];
  readonly checker: Checker;
  readonly leaseTime: number;
  /** When the last promotion was seen, within one fault. */
  promotedAt: number | undefined;
  /** From 0 to 1, by the campaign's seed. */
  random(): number;
}

/** A fault. Afterwards the campaign repairs all damage that is left. */
export interface Fault<D extends Setup = Deployment> {
  readonly name: string;
  readonly needsPartition?: boolean;
  /** The fault costs no lock that is granted meanwhile. */
  readonly isMild?: boolean;
  run(scene: Scene<D>): Promise<void>;
}

/** One of the items, by the campaign's seed. */
export function pick<T>({ random }: Pick<Scene, 'random'>, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)]!;
}
