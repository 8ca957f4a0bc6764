import 'reflect-metadata';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { INestApplication, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { rawClient } from './support/client.js';
import { until } from './support/eventually.js';
import { guardedFolder, guardProcess, unguardProcess } from './support/guard.js';
import { isAlive } from './support/is-alive.js';
import { freePort } from './support/ports.js';

const page = readFileSync('docs/getting-started.md', 'utf8');

/** The one code block of the page in that language that contains `text`. */
function block(language: string, text: string): string {
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm');
  const found = [...page.matchAll(fence)].map(([, code = '']) => code).filter((code) => code.includes(text));
  if (found.length !== 1) throw new Error(`${found.length} blocks of the page have '${text}', not one`);
  return found[0] ?? '';
}

/** What a reader should see, in pieces: a line ends a piece, and so does `end`. */
function pieces(text: string, end = /\n/): string[] {
  return text
    .split(end)
    .map((piece) => piece.trim())
    .filter((piece) => piece !== '');
}

/** Stands for curl, if there is none: prints status, headers and body. */
const CURL = `#!${process.execPath}
const url = 'http://' + process.argv.at(-1);
fetch(url, { method: 'POST' }).then(async (answer) => {
  console.log('HTTP/1.1 ' + answer.status + ' ' + answer.statusText);
  for (const [name, value] of answer.headers) console.log((name === 'retry-after' ? 'Retry-After' : name) + ': ' + value);
  console.log(await answer.text());
});
`;

/** A folder with the programs of the page: the server under test by the name that the page uses. */
function programs(): string {
  const folder = guardedFolder('programs');
  const server = process.env['REDIS_SERVER'] ?? 'redis-server';
  if (isAbsolute(server)) symlinkSync(server, join(folder, 'redis-server'));
  if (spawnSync('curl', ['--version']).error) writeFileSync(join(folder, 'curl'), CURL, { mode: 0o755 });
  return folder;
}

/** A terminal in which a reader types the commands of the page. */
class Terminal {
  readonly #shell: ChildProcess;
  output = '';

  constructor(path: string) {
    const env = { ...process.env, PATH: [path, process.env['PATH']].join(delimiter) };
    this.#shell = spawn('bash', { cwd: guardedFolder('terminal'), env, stdio: 'pipe' });
    for (const stream of [this.#shell.stdout, this.#shell.stderr])
      stream?.on('data', (data: Buffer) => (this.output += data.toString()));
  }

  /** Types `commands`, and resolves with all that has been printed since as soon as that has every text. */
  async type(commands: string, ...texts: string[]): Promise<string> {
    const start = this.output.length;
    this.#shell.stdin?.write(`${commands}\n`);
    const printed = (): string => this.output.slice(start);
    await until(() => texts.every((text) => printed().includes(text)), {
      within: 15_000,
      what: `'${commands}' has printed ${texts.join(' and ')}`,
    }).catch((error: Error) => {
      throw new Error(`${error.message}\nIt printed: ${printed()}`);
    });
    return printed();
  }

  end(): void {
    this.#shell.stdin?.end();
  }
}

describe('The quick start of docs/getting-started.md', () => {
  const ports = new Map<string, number>();
  /** With free ports in the place of the page's ports. */
  const local = (text: string): string =>
    text.replaceAll(/\b(?:6379|6380|6381|3000)\b/g, (port) => String(ports.get(port)));
  const terminals: Terminal[] = [];
  const log: string[] = [];
  let servers: number[] = [];
  let folder: string;
  let app: INestApplication;
  let redisTerminal: Terminal;
  let curlTerminal: Terminal;
  const environment = process.env['NODE_ENV'];

  beforeAll(async () => {
    for (const port of ['6379', '6380', '6381', '3000']) ports.set(port, await freePort());
    const path = programs();
    redisTerminal = new Terminal(path);
    curlTerminal = new Terminal(path);
    terminals.push(redisTerminal, curlTerminal);

    const printed = await redisTerminal.type(
      `${local(block('bash', '--replicaof'))} echo servers: $(jobs -p) end`,
      ' end\n',
    );
    servers = (/servers: (.*) end/.exec(printed)?.[1] ?? '').split(' ').map(Number);
    expect(servers).toHaveLength(3);
    for (const pid of servers) guardProcess(pid);
    await until(
      async () => {
        const client = rawClient(ports.get('6379') ?? 0);
        client.on('error', () => {});
        const info = await client.info('replication').finally(() => client.disconnect());
        return info.match(/state=online/g)?.length === 2;
      },
      { within: 15_000, what: 'both replicas are online' },
    );

    mkdirSync('.cache', { recursive: true });
    folder = mkdtempSync(join('.cache', 'quick-start-'));
    const file = join(process.cwd(), folder, 'app.module.ts');
    writeFileSync(file, local(block('ts', '// src/app.module.ts')));
    process.env['NODE_ENV'] = /NODE_ENV=(\w+) npm start/.exec(block('bash', 'npm start'))?.[1];
    const { AppModule } = (await import(file)) as { AppModule: Type };
    const note = (message: unknown): void => void log.push(String(message));
    app = await NestFactory.create(AppModule, {
      logger: { log: note, warn: note, error: note },
      forceCloseConnections: true,
    });
    await app.listen(ports.get('3000') ?? 0);
  }, 60_000);

  afterAll(async () => {
    process.env['NODE_ENV'] = environment;
    await app?.close();
    for (const pid of servers) {
      if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      unguardProcess(pid);
    }
    for (const terminal of terminals) terminal.end();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  /** Waits for a line of the log with every piece of the page's block that contains `text`. */
  async function untilLogged(text: string, end: RegExp): Promise<void> {
    const expected = pieces(local(block('text', text)), end);
    await until(() => log.some((line) => expected.every((piece) => line.includes(piece))), {
      what: `the log has ${expected.join(' ')}`,
    }).catch((error: Error) => {
      throw new Error(`${error.message}\nThe log: ${log.join('\n')}`);
    });
  }

  it('names the master and its replicas in the log', async () => {
    await untilLogged('The master is', /\.\.\./);
  });

  it('answers 201 and 409 to two requests at once', async () => {
    await curlTerminal.type(local(block('bash', 'curl')), ...pieces(block('text', '409 Conflict')));
  }, 30_000);

  it('still answers 201 and logs the replica that is missing if one replica stops', async () => {
    await redisTerminal.type(block('bash', 'kill %3'));
    await until(() => !isAlive(servers[2] ?? 0), { what: 'the replica has stopped' });
    const [one = ''] = local(block('bash', 'curl')).split('\n').slice(1);
    await curlTerminal.type(one, '201 Created', '{"paid":"7"}');
    await untilLogged('1 replica is connected', /\.\.\./);
  }, 30_000);

  it('answers 503 and logs the reason if both replicas stop', async () => {
    await redisTerminal.type(block('bash', 'kill %2'));
    await until(() => !isAlive(servers[1] ?? 0), { what: 'the replica has stopped' });
    const [one = ''] = local(block('bash', 'curl')).split('\n').slice(1);
    await curlTerminal.type(one, ...pieces(block('text', '503 Service Unavailable')));
    // The log names the replicas in the order in which they connected.
    await untilLogged('was not confirmed', /\.*\n|\.\.\.|, |: /);
  }, 30_000);

  it('starts Redis with the same lines as the README', () => {
    expect(readFileSync('README.md', 'utf8')).toContain(block('bash', '--replicaof'));
  });

  it('has the same docker-compose.yml as the samples', () => {
    expect(block('yaml', 'services:')).toBe(readFileSync('sample/docker-compose.yml', 'utf8'));
  });
});
