import type { Replication } from '../../test/support/replication.js';
import type { Plot } from '../report/plot.js';
import type { Table } from '../report/table.js';
import type { Server, Subject } from '../subjects/subject.js';

/** One question that the benchmark answers. */
export interface Workload {
  readonly name: string;
  run(bench: Bench): Promise<Report>;
}

/** The surroundings of a workload. */
export interface Bench {
  /** A master and two replicas, for this workload alone. */
  readonly servers: Replication;
  readonly server: Server;
  readonly subjects: readonly Subject[];
  /** The subjects that wait for a busy key, each once. A smoke run has only a few of them. */
  readonly waiting: readonly Subject[];
  readonly rounds: number;
  /** A run of seconds that only shows that everything runs. The figures mean nothing. */
  readonly smoke: boolean;
  /** The subjects in a new random order. */
  shuffled(subjects: readonly Subject[]): Subject[];
  log(line: string): void;
}

export interface Report {
  readonly tables: readonly Table[];
  readonly plots?: readonly Plot[];
}
