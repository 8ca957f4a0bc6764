import { setTimeout as sleep } from 'node:timers/promises';
import type { LockService } from '../lib/lock/lock-service.js';
import type { Lock } from '../lib/lock/lock.js';
import { now, type Unsaid, type WorkerEvent } from './events.js';

/** ms before a worker stands again after a term that the worker gave back. */
const RETRY_TIME = 200;
/** ms between two questions whether the worker leads. */
const ASK_TIME = 50;
/** The share of terms during which the worker leaves the election, and stands again later. */
const LEAVING = 0.2;
/** ms at most between the end of a term's work and its last write. */
const CLEAR_UP_TIME = 100;

/** What a candidate needs of its worker. */
export interface CandidateHost {
  readonly service: LockService;
  say(event: Unsaid<WorkerEvent>, t?: number): void;
  /** Works as a leader, until the signal aborts or some time has passed. */
  work(term: Lock): Promise<void>;
  write(term: Lock): Promise<void>;
}

/**
 * Stands for the election of this key without end, and reports each term: from `elected` to the end
 * of its work, or to the loss. The loss and renewals are among the events of the service.
 */
export async function stand(key: string, { service, say, work, write }: CandidateHost): Promise<never> {
  for (;;) {
    /** The owner of the last term that this worker lost. */
    let lost = '';
    const election = service.elect(key, { retryTime: RETRY_TIME });
    election.changes.subscribe(({ type, term }) => {
      const { owner: id, fencingToken: token } = term;
      if (type === 'elected')
        say({ e: 'grant', id, key, token, limit: 1, until: now() + term.remainingTime });
      if (type === 'deposed') lost = id;
      if (type === 'resigned') say({ e: 'release', id });
    });
    // Must not contradict what the changes say.
    const asking = setInterval(() => {
      // Before the question: the worker may be frozen right after the answer.
      const t = now();
      const { isLeader, term } = election;
      if (isLeader && term !== undefined) say({ e: 'leads', id: term.owner }, t);
    }, ASK_TIME);
    await election.run(async (term) => {
      if (Math.random() < LEAVING) void sleep(Math.random() * 1_000).then(() => election.resign());
      await work(term);
      // A resignation must wait for the work, even if the work takes a while to clear up.
      await sleep(Math.random() * CLEAR_UP_TIME);
      if (term.owner !== lost) await write(term);
      say({ e: 'release', id: term.owner });
    });
    clearInterval(asking);
  }
}
