import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { NestFactory } from '@nestjs/core';
import type { INestApplication, Type } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';

interface Request {
  readonly method: string;
  /** The port of the copy, as in the request. */
  readonly port: string;
  readonly path: string;
  readonly answer: string;
}

/** The requests with an answer at the top of a sample: `curl -X POST localhost:3000/a # 201 {...}` */
function requestsOf(name: string): Request[] {
  const text = readFileSync(`sample/${name}/app.module.ts`, 'utf8');
  const lines = text.matchAll(/^ \* +curl (?:-X (\w+) )?localhost:(\d+)(\S*) +# (\d.*)$/gm);
  return [...lines].map(([, method = 'GET', port = '', path = '', answer = '']) => ({
    method,
    port,
    path,
    answer,
  }));
}

describe('The requests at the top of a sample', () => {
  const { REDIS_URL } = process.env;
  let copies: INestApplication[] = [];

  beforeEach(() => {
    // Copies in one process share the locks of this name.
    process.env['REDIS_URL'] = 'memory:sample-requests';
  });
  afterEach(async () => {
    await Promise.all(copies.map((copy) => copy.close()));
    copies = [];
    if (REDIS_URL === undefined) delete process.env['REDIS_URL'];
    else process.env['REDIS_URL'] = REDIS_URL;
  });

  it.each(['everywhere', 'limited', 'observability', 'scheduled', 'election'])(
    'are answered as written: %s',
    async (name) => {
      const requests = requestsOf(name);
      expect(requests).not.toEqual([]);
      const { AppModule } = (await import(`../../sample/${name}/app.module.js`)) as { AppModule: Type };
      const urls: Record<string, string> = {};
      for (const port of new Set(requests.map((request) => request.port))) {
        const copy = await NestFactory.create(AppModule, { logger: false, forceCloseConnections: true });
        copies.push(copy);
        await copy.listen(0, '127.0.0.1');
        urls[port] = await copy.getUrl();
      }
      for (const { method, port, path, answer } of requests) {
        const response = await fetch(`${urls[port]}${path}`, { method });
        expect(`${path}: ${response.status} ${await response.text()}`).toBe(`${path}: ${answer}`);
      }
    },
  );

  it('are started by a command of package.json', () => {
    const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as {
      scripts: Record<string, string>;
    };
    const readme = readFileSync('sample/README.md', 'utf8');
    const started = [...readFileSync('sample/start.ts', 'utf8').matchAll(/^ {2}(\w+): \{ copies/gm)];
    expect(started.length).toBeGreaterThan(3);
    for (const [, name = ''] of started) {
      expect(scripts[`sample:${name}`]).toBe(`node scripts/run.mjs sample ${name}`);
      expect(readme).toContain(`npm run sample:${name}`);
    }
  });
});
