import { describe, expect, it } from '@jest/globals';
import { ClusterSurvey, whyUnknown } from '../../../../lib/store/redis/cluster/cluster-survey.js';
import type { Connection, Connector } from '../../../../lib/store/redis/connection/connection.js';
import { ErrorReply, type Address, type Command, type Reply } from '../../../../lib/store/redis/resp.js';
import { ManualClock, settled } from '../../../support/manual-clock.js';

/** How a server treats a connection: is silent, refuses, or answers CLUSTER NODES. */
type Behaviour = 'hangs' | 'is down' | { readonly answers: Reply };

class Servers implements Connector {
  readonly connectTimeout = 2_000;
  readonly behaviour = new Map<number, Behaviour>();
  /** How often each server was connected to. */
  readonly tries = new Map<number, number>();
  open = 0;

  connect({ port }: Address, _label: string, signal: AbortSignal): Promise<Connection> {
    this.tries.set(port, (this.tries.get(port) ?? 0) + 1);
    const behaviour = this.behaviour.get(port)!;
    if (behaviour === 'is down') return Promise.reject(new Error('ECONNREFUSED'));
    this.open++;
    if (behaviour === 'hangs') {
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          this.open--;
          reject(signal.reason as Error);
        });
      });
    }
    return Promise.resolve({
      send: (commands: readonly Command[], onReply: (reply: Reply, index: number) => void) =>
        commands.forEach((_, index) => onReply(behaviour.answers, index)),
      subscribe: () => Promise.resolve(),
      onEnd: () => () => {},
      close: () => void this.open--,
    });
  }
}

const nodes = 'a 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-16383';
const addresses = [1, 2, 3].map((port) => ({ host: 'h', port }));

function surveyOf(...behaviours: Behaviour[]): {
  servers: Servers;
  clock: ManualClock;
  survey: ClusterSurvey;
} {
  const servers = new Servers();
  for (const [i, behaviour] of behaviours.entries()) servers.behaviour.set(i + 1, behaviour);
  const clock = new ManualClock();
  return { servers, clock, survey: new ClusterSurvey(servers, clock) };
}

describe('A survey while a server hangs', () => {
  it('answers as soon as another server has answered', async () => {
    const { survey, servers } = surveyOf('hangs', 'is down', { answers: nodes });
    expect((await survey.view([], addresses)).author).toBe('a');
    survey.close();
    await settled();
    expect(servers.open).toBe(0);
  });

  it('does not wait for that server once the others have failed, and asks those again', async () => {
    const { survey, servers, clock } = surveyOf('hangs', 'is down', 'is down');
    const failed = survey.view([], addresses).catch((error: unknown) => whyUnknown(error).reason);
    await clock.advance(250);
    expect(await failed).toMatch(/\(h:1: no answer yet; h:2: ECONNREFUSED; h:3: ECONNREFUSED\)/);
    servers.behaviour.set(3, { answers: nodes });
    expect((await survey.view([], addresses)).author).toBe('a');
    // The server that hangs is not asked a second time before its answer.
    expect([...servers.tries.values()]).toEqual([1, 2, 2]);
    survey.close();
    await settled();
    expect({ open: servers.open, timers: clock.timers }).toEqual({ open: 0, timers: 0 });
  });

  it('pauses longer and longer before it asks that server again, at most a quarter of a second', async () => {
    const { survey, servers, clock } = surveyOf('hangs', 'is down', 'is down');
    const triedAt: number[] = [];
    for (let now = 0; now < 13_000; now += 50) {
      const before = servers.tries.get(1) ?? 0;
      survey.view([], addresses).catch(() => {});
      await clock.advance(50);
      if ((servers.tries.get(1) ?? 0) > before) triedAt.push(now);
      expect(servers.open).toBeLessThanOrEqual(1);
    }
    const pauses = triedAt.slice(1).map((at, i) => at - triedAt[i]! - 2_000);
    expect(pauses).toEqual([50, 100, 200, 250, 250]);
    survey.close();
  });

  it('gives up when all servers say that they are in no Cluster', async () => {
    const no: Behaviour = { answers: new ErrorReply('ERR This instance has cluster support disabled') };
    const { survey } = surveyOf(no, no, no);
    const why = whyUnknown(await survey.view([], addresses).catch((error: unknown) => error));
    expect(why).toMatchObject({ permanent: true, reason: expect.stringContaining('without `nodes`') });
  });

  it('goes on trying if only some servers say so', async () => {
    const no: Behaviour = { answers: new ErrorReply('ERR This instance has cluster support disabled') };
    const { survey } = surveyOf(no, 'is down', 'is down');
    const why = whyUnknown(await survey.view([], addresses).catch((error: unknown) => error));
    expect(why.permanent).toBeUndefined();
  });
});
