import type { Scene } from './scene.js';
import type { SimServer } from './server.js';
import type { SimHost } from './world.js';

/**
 * Something that goes wrong, at once or for a while. A fault mends what it breaks, or the end of
 * the faults does.
 */
export type Fault = (scene: Scene) => unknown;

export interface NamedFault {
  readonly name: string;
  readonly run: (scene: Scene) => void;
  /** A multiple of the time that a fault has in a mild schedule. */
  readonly length: number;
}

/** Faults under their names. A fault that runs adds its name to what has happened in the schedule. */
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
