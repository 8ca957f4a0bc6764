/** The three locks of the campaign: this library's, and two controls that must show violations. */
export const KINDS = ['replica', 'plain', 'naive'] as const;
export type Kind = (typeof KINDS)[number];

/** The limit of a lock that allows any number of holders. */
export const UNLIMITED = 1e9;

/**
 * The events of a worker, one per line of standard output. `t` and `until` are ms of the system's
 * monotonic clock, which all processes share.
 */
export type WorkerEvent = { readonly t: number; readonly kind: Kind } & (
  | {
      readonly e: 'grant';
      readonly id: string;
      readonly key: string;
      readonly token: number;
      /** How many holders the lock allows. */
      readonly limit: number;
      readonly until: number;
    }
  /** The holder may believe for longer now. */
  | { readonly e: 'valid'; readonly id: string; readonly until: number }
  /**
   * The holder stops believing: at the release, or because the library reported a loss. `gap`: ms
   * for which the event loop had stood still before.
   */
  | { readonly e: 'release'; readonly id: string }
  | { readonly e: 'lost'; readonly id: string; readonly gap: number; readonly why: string }
  /** A process says that it leads: `isLeader` of its election, asked every few ms. */
  | { readonly e: 'leads'; readonly id: string }
  /**
   * A write to the fenced resource, sent at `t`: the place among all writes, and whether the fence
   * accepted the write.
   */
  | {
      readonly e: 'write';
      readonly id: string;
      readonly key: string;
      readonly token: number;
      readonly place: number;
      readonly isAccepted: boolean;
    }
  | { readonly e: 'refused'; readonly key: string; readonly code: string }
  | { readonly e: 'trouble'; readonly what: string }
);

/** An event without what all events of one lock have in common. */
export type Unsaid<E> = E extends { t: number; kind: Kind } ? Omit<E, 't' | 'kind'> : never;

export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
