import { COMMIT_MUTANTS } from './commit.js';
import { CONNECTION_MUTANTS } from './connection.js';
import { KINDS_MUTANTS } from './kinds.js';
import { LOCK_MUTANTS } from './lock.js';
import { PERMITS_MUTANTS } from './permits.js';
import { REPLICATION_MUTANTS } from './replication.js';
import { SCRIPTS_MUTANTS } from './scripts.js';
import type { Mutant } from './mutant.js';

/** All mutants, in the order of the rooms whose rules the mutants break. */
export const MUTANTS: readonly Mutant[] = [
  ...COMMIT_MUTANTS,
  ...REPLICATION_MUTANTS,
  ...CONNECTION_MUTANTS,
  ...SCRIPTS_MUTANTS,
  ...PERMITS_MUTANTS,
  ...LOCK_MUTANTS,
  ...KINDS_MUTANTS,
];
