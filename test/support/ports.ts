import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

// Below the range from which systems take the ports of outgoing connections. A Cluster node also
// listens on port + 10,000, which must be the port of no other server.
const BUS = 10_000;
const LOWEST = 10_500;
const HIGHEST = LOWEST + BUS;

/** A process never gives out a port twice, so a killed server finds the same port free again. */
const given = new Set<number>();

/**
 * A port of 127.0.0.1 that is free now. With `bus`, the port of the Cluster bus is free too.
 * Another program may take the port first (test files run side by side): if binding fails, try
 * again with another port.
 */
export async function freePort({ bus = false }: { bus?: boolean } = {}): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = randomInt(LOWEST, HIGHEST);
    if (given.has(port)) continue;
    if ((await isFree(port)) && (!bus || (await isFree(port + BUS)))) {
      given.add(port);
      return port;
    }
  }
  throw new Error(`No free port found between ${LOWEST} and ${HIGHEST}`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
