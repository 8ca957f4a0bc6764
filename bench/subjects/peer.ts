import { createRequire } from 'node:module';
import { join } from 'node:path';

const requireFromBench = createRequire(join(process.cwd(), 'bench/package.json'));

/** Loads a library that is installed only in bench/. `T` has the members that are used. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- most peers have no types, or wrong ones
export function loadPeer<T>(name: string): T {
  return requireFromBench(name) as T;
}
