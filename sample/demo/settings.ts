/*
 * What the demonstration is configured with, in ms.
 */

/**
 * The lease of both locks, and so the quarantine. Less than the default of 15 s, so that the
 * demonstration is shorter, and more than a fail-over takes.
 */
export const LEASE = 12_000;

/** Replica locks stay in Redis for this long after their lease: the default of `clockSkew`. */
export const CLOCK_SKEW = 1_000;

/** How long a shop waits for a lock. */
export const WAIT = 1_000;

/**
 * The time without an answer after which a Sentinel declares the master dead. Less would make the
 * demonstration shorter, but docs/production.md advises 2,000 or more: the Sentinels then have asked
 * the replicas how much data they have, and promote the one with the most.
 */
export const DOWN_AFTER = 2_000;
