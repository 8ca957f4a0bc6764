import type { Scene } from './scene.js';
import type { SimServer } from './server.js';
import type { SimHost } from './world.js';

/**
 * A fault, at once or for a while. The damage is repaired by the fault itself, or at the end of all
 * faults.
 */
export type Fault = (scene: Scene) => unknown;

export interface NamedFault {
  readonly name: string;
  readonly run: (scene: Scene) => void;
  /** A multiple of the time that a fault has in a mild schedule. */
  readonly length: number;
}

/** Gives faults their names. A fault that runs is named in the scene's `happened`. */
export const named = (faults: Readonly<Record<string, Fault>>, length = 1): NamedFault[] =>
  Object.entries(faults).map(([name, run]) => ({
    name,
    length,
    run: (scene) => {
      scene.happened.add(name);
      run(scene);
    },
  }));

/** The servers that follow a master. */
export function replicasOf({ servers }: Scene): SimServer[] {
  return servers.filter((server) => server.role === 'slave');
}

/** Stops a host for `ms`. Messages and timers of that time are handled when the host runs again. */
export function freeze({ world, nemesis }: Scene, host: SimHost, ms: number): void {
  world.tell(host.name, 'freezes');
  host.freeze();
  world.happen(ms, nemesis, () => {
    world.tell(host.name, 'runs again');
    host.thaw();
  });
}
