import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type INestApplication, Module, type Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { context, metrics, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { parser } from '@prometheus-io/lezer-promql';
import { parse as parseYaml } from 'yaml';
import { getLockServiceToken, LockService, ReplicaLockModule } from '../../lib/index.js';
import { LockNames } from '../../lib/telemetry/lock-names.js';
import { ReplicaLockTelemetryModule } from '../../lib/telemetry/index.js';
import { until } from '../support/eventually.js';
import { freePort } from '../support/ports.js';
import { startReplication } from '../support/replication.js';

let app: INestApplication;
let exporter: PrometheusExporter;
let spans: InMemorySpanExporter;
let url: string;

beforeEach(async () => {
  const port = await freePort();
  exporter = new PrometheusExporter({ port, host: '127.0.0.1' });
  url = `http://127.0.0.1:${port}/metrics`;
  spans = new InMemorySpanExporter();
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [exporter] }));
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }),
  );
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
});
afterEach(async () => {
  await app.close();
  await exporter.shutdown();
  metrics.disable();
  trace.disable();
  context.disable();
});

async function start(...imports: unknown[]): Promise<LockService> {
  const module = await Test.createTestingModule({ imports: imports as Type[] }).compile();
  app = module.createNestApplication({ logger: false, forceCloseConnections: true });
  await app.init();
  return app.get(LockService);
}

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

async function scrape(): Promise<Sample[]> {
  const text = await (await fetch(url)).text();
  return text.split('\n').flatMap((line) => {
    const [, name, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
    if (name === undefined || !name.startsWith('replica_lock')) return [];
    const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = '', of = '']) => [
      key,
      of,
    ]);
    return [{ name, labels: Object.fromEntries(pairs) as Record<string, string>, value: Number(value) }];
  });
}

/** The value of the one series that has these labels. */
function valueOf(samples: Sample[], name: string, labels: Record<string, string>): number | undefined {
  return samples.find(
    (each) =>
      each.name === name && Object.entries(labels).every(([key, value]) => each.labels[key] === value),
  )?.value;
}

const named = (name: string): Record<string, string> => ({ replica_lock_name: name });

describe('The metrics', () => {
  it('count and time what happens to locks, by name and outcome', async () => {
    const locks = await start(
      ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 }),
      ReplicaLockModule.forRoot({ name: 'payments', connection: 'memory:' }),
      ReplicaLockTelemetryModule,
    );
    await locks.withLock('order:1', { label: 'order:{id}' }, async () => {
      expect(await locks.tryAcquire('order:1', { label: 'order:{id}' })).toBeNull();
      await expect(locks.acquire('order:1', { label: 'order:{id}', waitTime: 1 })).rejects.toThrow();
      const leaving = new AbortController();
      const waiting = locks.acquire('order:1', { label: 'order:{id}', signal: leaving.signal });
      const now = await scrape();
      expect(valueOf(now, 'replica_lock_held', named('order:{id}'))).toBe(1);
      expect(valueOf(now, 'replica_lock_waiting', named('order:{id}'))).toBe(1);
      leaving.abort('has gone');
      await expect(waiting).rejects.toBe('has gone');
    });
    const lost = await locks.acquire('report');
    await locks.forceRelease('report');
    await until(() => !lost.held, { what: 'the loss is known' });
    for (let i = 0; i < 50; i++) await locks.withLock(`customer:${i}:x`, () => {});
    await app.get<LockService>(getLockServiceToken('payments')).withLock('p', () => {});
    const samples = await scrape();
    const outcomes = (outcome: string): unknown =>
      valueOf(samples, 'replica_lock_acquire_duration_count', {
        ...named('order:{id}'),
        replica_lock_outcome: outcome,
        replica_lock_instance: 'default',
      });
    expect(['acquired', 'skipped', 'contended', 'aborted'].map(outcomes)).toEqual([1, 1, 1, 1]);
    expect(valueOf(samples, 'replica_lock_held', named('order:{id}'))).toBe(0);
    expect(valueOf(samples, 'replica_lock_waiting', named('order:{id}'))).toBe(0);
    expect(valueOf(samples, 'replica_lock_lost_total', named('report'))).toBe(1);
    // The series starts at 0, so that the first loss is an increase.
    expect(valueOf(samples, 'replica_lock_lost_total', named('order:{id}'))).toBe(0);
    expect(valueOf(samples, 'replica_lock_unconfirmed_total', named('order:{id}'))).toBe(0);
    const held = 'replica_lock_hold_duration_count';
    expect(valueOf(samples, held, { ...named('report'), replica_lock_end: 'lost' })).toBe(1);
    expect(valueOf(samples, held, { ...named('customer:*'), replica_lock_end: 'released' })).toBe(50);
    expect(valueOf(samples, held, { ...named('p'), replica_lock_instance: 'payments' })).toBe(1);
    expect(JSON.stringify(samples)).not.toContain('customer:1');
  });

  it('count each holder of a key with a limit', async () => {
    const locks = await start(
      ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 }),
      ReplicaLockTelemetryModule,
    );
    const parts = [await locks.acquire('render', { limit: 2 }), await locks.acquire('render', { limit: 2 })];
    expect(await locks.tryAcquire('render', { limit: 2 })).toBeNull();
    expect(valueOf(await scrape(), 'replica_lock_held', named('render'))).toBe(2);
    await locks.forceRelease('render', parts[0]!.owner);
    await until(() => !parts[0]!.held, { what: 'the loss is known' });
    await parts[1]!.release();
    const samples = await scrape();
    expect(valueOf(samples, 'replica_lock_held', named('render'))).toBe(0);
    expect(valueOf(samples, 'replica_lock_lost_total', named('render'))).toBe(1);
    const ofOutcome = { ...named('render'), replica_lock_outcome: 'skipped' };
    expect(valueOf(samples, 'replica_lock_acquire_duration_count', ofOutcome)).toBe(1);
  });

  it('count the calls of work that runs once: ran, or kept', async () => {
    const locks = await start(
      ReplicaLockModule.forRoot({ connection: 'memory:' }),
      ReplicaLockTelemetryModule,
    );
    let end!: () => void;
    const running = locks.once('job:1', { keepFor: '1h' }, () => new Promise<void>((done) => (end = done)));
    await until(() => locks.isLocked('job:1'), { what: 'the work runs' });
    const waiting = locks.once('job:1', { keepFor: '1h' }, () => {});
    await until(async () => valueOf(await scrape(), 'replica_lock_waiting', named('job:*')) === 1, {
      what: 'the second call waits',
    });
    end();
    await Promise.all([running, waiting, locks.once('job:1', { keepFor: '1h' }, () => {})]);
    const samples = await scrape();
    const counted = (name: string, outcome: string): unknown =>
      valueOf(samples, name, { ...named('job:*'), replica_lock_outcome: outcome });
    expect(counted('replica_lock_once_total', 'ran')).toBe(1);
    expect(counted('replica_lock_once_total', 'kept')).toBeGreaterThanOrEqual(1);
    expect(counted('replica_lock_acquire_duration_count', 'acquired')).toBe(1);
    expect(counted('replica_lock_acquire_duration_count', 'kept')).toBeGreaterThanOrEqual(1);
    expect(spans.getFinishedSpans().filter(({ status }) => status.code === SpanStatusCode.ERROR)).toEqual([]);
  });

  it('show for each election whether this process leads, and count its terms', async () => {
    const locks = await start(
      ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 }),
      ReplicaLockTelemetryModule,
    );
    const leads = async (name: string): Promise<unknown> =>
      valueOf(await scrape(), 'replica_lock_leader', named(name));
    const other = await locks.acquire('boss');
    const election = locks.elect('boss', { label: 'the boss' });
    // A copy that stands and does not lead has a series, so that the sum of all copies is 0.
    expect(await leads('the boss')).toBe(0);
    await other.release();
    await until(() => election.isLeader, { what: 'this process leads' });
    expect(await leads('the boss')).toBe(1);
    await locks.forceRelease('boss');
    await until(async () => valueOf(await scrape(), 'replica_lock_terms_total', named('the boss')) === 2, {
      what: 'the second term is counted',
    });
    await election.resign();
    expect(await leads('the boss')).toBe(0);
  });

  it('have a bounded number of names, for any number of kinds of keys', () => {
    const names = new LockNames();
    const made = new Set(Array.from({ length: 500 }, (_, i) => names.nameOf([`kind${i}:1`], undefined)));
    expect(made.size).toBe(101);
    expect(names.nameOf(['new'], undefined)).toBe('other');
    expect(names.nameOf(['kind0:7'], undefined)).toBe('kind0:*');
    expect(names.nameOf(['kind1:b', 'kind0:a', 'kind1:c'], undefined)).toBe('other');
    expect(new LockNames().nameOf(['b:1', 'a:1', 'b:2'], undefined)).toBe('a:* b:*');
    expect(names.nameOf(['x'], 'x:{id}')).toBe('x:{id}');
  });
});

describe('The telemetry module', () => {
  it('observes a service once if it is provided twice, and ignores a plain object in place of a service', async () => {
    const main = ReplicaLockModule.forRoot({ connection: 'memory:', name: 'main' });
    class Again {}
    Module({
      providers: [{ provide: LockService, useExisting: getLockServiceToken('main') }],
      exports: [LockService],
    })(Again);
    const locks = await start(main, Again, ReplicaLockTelemetryModule);
    await locks.withLock('order:1', async () => {});
    const acquired = (await scrape()).filter(({ name }) => name === 'replica_lock_acquire_duration_count');
    expect(acquired.map(({ labels }) => labels['replica_lock_instance'])).toEqual(['main']);
    await app.close();
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:' }), ReplicaLockTelemetryModule],
    })
      .overrideProvider(LockService)
      .useValue({ withLock: async () => 'ran' })
      .compile();
    app = module.createNestApplication({ logger: false });
    await app.init();
  });
});

describe('The spans', () => {
  it('of acquiring and holding are children of the caller’s span, and record failures', async () => {
    const locks = await start(
      ReplicaLockModule.forRoot({ connection: 'memory:' }),
      ReplicaLockTelemetryModule,
    );
    const tracer = trace.getTracer('test');
    await tracer.startActiveSpan('request', async (request) => {
      const first = await locks.acquire('order:1');
      const second = locks.acquire('order:1');
      await expect(locks.acquire('order:1', { waitTime: 1 })).rejects.toThrow();
      await first.release();
      const lock = await second;
      await locks.forceRelease('order:1');
      await until(() => !lock.held, { what: 'the loss is known' });
      request.end();
    });
    const [request] = spans.getFinishedSpans().filter(({ name }) => name === 'request');
    const of = (name: string): ReadableSpan[] =>
      spans.getFinishedSpans().filter((span) => span.name === name);
    expect(of('acquire order:*').map(({ attributes }) => attributes['replica_lock.outcome'])).toEqual([
      'acquired',
      'contended',
      'acquired',
    ]);
    expect(of('acquire order:*')[1]).toMatchObject({
      attributes: { 'error.type': 'LOCK_CONTENDED' },
      status: { code: SpanStatusCode.UNSET },
    });
    expect(of('hold order:*')).toHaveLength(2);
    expect(of('hold order:*')[0]!.attributes['replica_lock.fencing_token']).toEqual(expect.any(Number));
    expect(of('hold order:*')[1]).toMatchObject({
      attributes: { 'error.type': 'LOCK_LOST' },
      status: { code: SpanStatusCode.ERROR },
    });
    for (const span of [...of('acquire order:*'), ...of('hold order:*')])
      expect(span.parentSpanContext?.spanId).toBe(request!.spanContext().spanId);
    expect(JSON.stringify(spans.getFinishedSpans().map(({ attributes }) => attributes))).not.toContain(
      'order:1',
    );
  });

  it('say how many holders a lock allows, unless it has no limit', async () => {
    const locks = await start(
      ReplicaLockModule.forRoot({ connection: 'memory:' }),
      ReplicaLockTelemetryModule,
    );
    for (const limit of [1, 4, Infinity]) await (await locks.acquire('order:1', { limit })).release();
    const limitsOf = (name: string): unknown[] =>
      spans
        .getFinishedSpans()
        .filter((span) => span.name === name)
        .map(({ attributes }) => attributes['replica_lock.limit']);
    expect(limitsOf('acquire order:*')).toEqual([1, 4, undefined]);
    expect(limitsOf('hold order:*')).toEqual([1, 4, undefined]);
  });
});

/**
 * The metrics that a PromQL expression reads, each with the labels that the expression names.
 * Throws if the expression cannot be parsed.
 */
function readBy(expression: string): { metric: string; labels: Set<string> }[] {
  const text = expression.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*');
  const tree = parser.parse(text);
  const read: { metric: string; labels: Set<string> }[] = [];
  const grouped = new Set<string>();
  tree.iterate({
    enter(node) {
      const words = text.slice(node.from, node.to);
      if (node.type.isError) throw new Error(`Cannot read ${text} at ${node.from}`);
      if (node.name === 'VectorSelector') read.push({ metric: /^\w+/.exec(words)![0], labels: new Set() });
      else if (node.name === 'LabelName') {
        if (node.matchContext(['GroupingLabels'])) grouped.add(words);
        else read.at(-1)!.labels.add(words);
      }
    },
  });
  for (const { labels } of read) for (const label of grouped) labels.add(label);
  return read;
}

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
}

function rules(): Rule[] {
  const { groups } = parseYaml(readFileSync('sample/observability/alerts.yml', 'utf8')) as {
    groups: { rules: Rule[] }[];
  };
  return groups.flatMap((group) => group.rules);
}

describe('The sample dashboard and alerts', () => {
  it('read only metrics and labels that a real application reports', async () => {
    await using servers = await startReplication({ replicas: 1 });
    const locks = await start(
      ReplicaLockModule.forRoot({
        connection: servers.url,
        quarantine: 0,
        waitTime: 0,
        shutdownTimeout: 0,
      }),
      ReplicaLockTelemetryModule,
    );
    await until(() => locks.health().status === 'up', { what: 'it is connected' });
    await (await locks.acquire('order:1')).release();
    const lost = await locks.acquire('order:2');
    await locks.forceRelease('order:2');
    await until(() => !lost.held, { what: 'the loss is known' });
    await servers.replica(0).stop();
    await expect(locks.acquire('order:3', { replicaTimeout: 200 })).rejects.toMatchObject({
      code: 'LOCK_NOT_REPLICATED',
    });
    servers.replica(0).resume();
    const samples = await scrape();
    expect(valueOf(samples, 'replica_lock_replicas', { replica_lock_replica_state: 'known' })).toBe(1);
    expect(valueOf(samples, 'replica_lock_commit_groups_total', {})).toBeGreaterThanOrEqual(3);
    expect(valueOf(samples, 'replica_lock_unconfirmed_total', named('order:*'))).toBe(1);
    expect(valueOf(samples, 'replica_lock_confirm_duration_sum', named('order:*'))).toBeGreaterThan(0);

    const dashboard = JSON.parse(readFileSync('sample/observability/dashboard.json', 'utf8')) as {
      panels: { title: string; targets: { expr: string; legendFormat: string }[] }[];
    };
    const expressions = [
      ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
      ...rules().map(({ expr }) => expr),
    ];
    expect(expressions.length).toBeGreaterThan(15);
    const seen = new Set<string>();
    for (const expression of expressions) {
      for (const { metric, labels } of readBy(expression)) {
        seen.add(metric.replace(/_(bucket|count|sum)$/, ''));
        const series = samples.filter(({ name }) => name === metric);
        expect([metric, series.length > 0]).toEqual([metric, true]);
        const has = new Set(series.flatMap((each) => Object.keys(each.labels)));
        for (const label of labels)
          expect([expression, label, has.has(label)]).toEqual([expression, label, true]);
      }
    }
    const all = new Set(samples.map(({ name }) => name.replace(/_(bucket|count|sum)$/, '')));
    expect(seen).toEqual(all);
  });

  it('look back for less time than the condition must last, so that no single event raises an alert', () => {
    const waiting = rules().filter((rule) => rule.for !== undefined && rule.expr.includes('['));
    expect(waiting.map(({ alert }) => alert)).toEqual(['LocksUnavailable', 'LockContention']);
    for (const { expr, for: lasting = '' } of waiting)
      for (const [, range = ''] of expr.matchAll(/\[(\d+)m\]/g))
        expect(Number(range)).toBeLessThan(parseInt(lasting));
  });

  it('do not count a job that skips a tick as contention', () => {
    expect(rules().find(({ alert }) => alert === 'LockContention')?.expr).not.toMatch(
      /skipped|acquire_duration_count\[/,
    );
  });

  it('are checked by a test that finds an unknown metric and a broken expression', () => {
    expect(readBy('sum by (a) (rate(x_total{b="c"}[$__rate_interval])) / y')).toEqual([
      { metric: 'x_total', labels: new Set(['b', 'a']) },
      { metric: 'y', labels: new Set(['a']) },
    ]);
    expect(() => readBy('sum by (a (rate(x[5m]))')).toThrow(/Cannot read/);
  });
});
