// node scripts/dead-links.mjs FOLDER prints the relative links in Markdown files of the folder that
// lead to no file, and exits with 1 if there are any.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const [folder = '.'] = process.argv.slice(2);
const dead = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.md'))
  .flatMap((path) => {
    const text = readFileSync(join(folder, path), 'utf8');
    return [...text.matchAll(/\]\(([^)\s#]+)(?:#[^)\s]*)?\)/g)]
      .map(([, target = '']) => target)
      .filter((target) => !/^[a-z]+:/.test(target) && !existsSync(join(folder, dirname(path), target)))
      .map((target) => `${path}: ${target} is not in ${folder}`);
  });
for (const line of dead) console.error(line);
process.exitCode = dead.length === 0 ? 0 : 1;
