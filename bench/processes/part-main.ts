import { Channel } from './channel.js';
import type { PartFunction } from './part.js';

// node part-main.js <module> <params> is one process of a workload. The last message is the result,
// or the reason why there is none.

const [module = '', params = '{}'] = process.argv.slice(2);
const parent = new Channel(process);
process.once('disconnect', () => process.exit());
// Some libraries reject promises that no caller can reach. The figures show the effect.
process.on('unhandledRejection', () => {});

try {
  const { part } = (await import(module)) as { part: PartFunction<unknown> };
  parent.send({ result: (await part(JSON.parse(params), parent)) ?? null });
} catch (error) {
  parent.send({ failure: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
