/** ms between two polls of a server: a master, a Sentinel, or a node of a Cluster. */
export const POLL_TIME = 1_000;
/** ms that a server may take to answer a poll. */
export const ANSWER_TIME = 1_000;

/**
 * The number of failures in a row at which the log says that no server can be reached. A single
 * failure is usual during a fail-over.
 */
export const FAILURES_TO_REPORT = 2;

const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 500;

/**
 * ms before the next try after a number of failures in a row. The limit doubles with each
 * failure, up to 500 ms. Each pause is a random part of the limit, so that many processes do not
 * connect at the same instant.
 */
export function retryPause(failures: number): number {
  return Math.random() * Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failures);
}
