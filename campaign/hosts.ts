import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** One machine of the campaign: an address of its own, and how to start a program there. */
export interface Host {
  readonly name: string;
  readonly ip: string;
  /** Put before a command, so that the command runs on this host. */
  readonly prefix: readonly string[];
}

/** The machines of a campaign, all on this computer, and the network between them. */
export interface Hosts {
  readonly canPartition: boolean;
  add(name: string): Promise<Host>;
  /** Separates `some` from `others` in both directions; no connection is closed. */
  separate(some: readonly Host[], others: readonly Host[]): Promise<void>;
  /** Ends all partitions. */
  heal(): Promise<void>;
  dispose(): Promise<void>;
}

/**
 * Uses network namespaces if this user may make them (Linux, root, iproute2). Otherwise uses
 * addresses of the loopback network, without partitions.
 */
export async function makeHosts(id: number): Promise<Hosts> {
  try {
    return await NamespaceHosts.make(id);
  } catch {
    return new LoopbackHosts(id);
  }
}

class LoopbackHosts implements Hosts {
  readonly canPartition = false;
  private count = 0;

  constructor(private readonly id: number) {}

  add(name: string): Promise<Host> {
    return Promise.resolve({ name, ip: `127.77.${this.id}.${++this.count}`, prefix: [] });
  }

  separate(): Promise<void> {
    return Promise.reject(new Error('Without network namespaces there are no partitions'));
  }

  heal(): Promise<void> {
    return Promise.resolve();
  }

  dispose(): Promise<void> {
    return Promise.resolve();
  }
}

/** Each host is a network namespace on one bridge; a partition is a route that leads nowhere. */
class NamespaceHosts implements Hosts {
  readonly canPartition = true;
  private readonly hosts: Host[] = [];
  private readonly blocked: { from: Host; to: Host }[] = [];

  private constructor(
    private readonly id: number,
    private readonly bridge: string,
  ) {}

  static async make(id: number): Promise<NamespaceHosts> {
    const hosts = new NamespaceHosts(id, `rlb${id}`);
    await hosts.dispose();
    await run('ip', ['link', 'add', hosts.bridge, 'type', 'bridge']);
    await run('ip', ['link', 'set', hosts.bridge, 'up']);
    // The campaign itself hears every host, whatever the partitions between the hosts.
    await run('ip', ['addr', 'add', `10.77.${id}.254/24`, 'dev', hosts.bridge]);
    process.once('exit', () => hosts.disposeNow());
    return hosts;
  }

  async add(name: string): Promise<Host> {
    const number = this.hosts.length + 1;
    const namespace = `${this.prefix}${name}`;
    const host: Host = { name, ip: `10.77.${this.id}.${number}`, prefix: ['ip', 'netns', 'exec', namespace] };
    await run('ip', ['netns', 'add', namespace]);
    const [outside, inside] = [`v${this.id}o${number}`, `v${this.id}i${number}`];
    await run('ip', ['link', 'add', outside, 'type', 'veth', 'peer', 'name', inside, 'netns', namespace]);
    await run('ip', ['link', 'set', outside, 'master', this.bridge, 'up']);
    for (const args of [
      ['link', 'set', 'lo', 'up'],
      ['addr', 'add', `${host.ip}/24`, 'dev', inside],
      ['link', 'set', inside, 'up'],
    ]) {
      await run('ip', ['-n', namespace, ...args]);
    }
    this.hosts.push(host);
    return host;
  }

  async separate(some: readonly Host[], others: readonly Host[]): Promise<void> {
    await Promise.all(some.flatMap((a) => others.flatMap((b) => [this.block(a, b), this.block(b, a)])));
  }

  async heal(): Promise<void> {
    const blocked = this.blocked.splice(0);
    await Promise.all(
      blocked.map(({ from, to }) =>
        run('ip', ['-n', this.namespaceOf(from), 'route', 'del', 'blackhole', `${to.ip}/32`]),
      ),
    );
  }

  async dispose(): Promise<void> {
    this.disposeNow();
    await Promise.resolve();
  }

  private disposeNow(): void {
    const quietly = (...args: string[]): string => {
      try {
        return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
      } catch {
        return '';
      }
    };
    for (const line of quietly('netns', 'list').split('\n')) {
      const namespace = line.split(' ')[0] ?? '';
      if (namespace.startsWith(this.prefix)) quietly('netns', 'del', namespace);
    }
    quietly('link', 'del', this.bridge);
  }

  /** Two partitions of one fault may have a pair of hosts in common. */
  private async block(from: Host, to: Host): Promise<void> {
    if (this.blocked.some((pair) => pair.from === from && pair.to === to)) return;
    this.blocked.push({ from, to });
    await run('ip', ['-n', this.namespaceOf(from), 'route', 'add', 'blackhole', `${to.ip}/32`]);
  }

  private get prefix(): string {
    return `rl${this.id}-`;
  }

  private namespaceOf(host: Host): string {
    return host.prefix.at(-1) ?? '';
  }
}
