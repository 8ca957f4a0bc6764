import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Script } from '../../lib/store/redis/scripts/script.js';

/** Every Lua script in the folder of scripts: a new script needs no entry in a list. */
export async function luaScripts(): Promise<[file: string, script: Script][]> {
  const folder = join(import.meta.dirname, '../../lib/store/redis/scripts');
  const scripts: [string, Script][] = [];
  for (const file of readdirSync(folder)) {
    const name = basename(file, '.ts');
    const exported: object = await import(`../../lib/store/redis/scripts/${name}.js`);
    for (const value of Object.values(exported)) if (value instanceof Script) scripts.push([name, value]);
  }
  return scripts;
}
