import type { Lock } from './lock.js';

/** How an acquisition ended: with a lock, or with what its promise rejects with. */
export type AcquisitionEnd =
  | { readonly kind: 'acquired'; readonly lock: Lock }
  | {
      readonly kind: 'refused';
      readonly error: unknown;
      /** ms that it was ready to wait. */ readonly waitTime: number;
    };

/** Follows acquisitions in the asynchronous context of who asks, which events do not know: for tracing. */
export interface AcquisitionObserver {
  /** Called when somebody asks; what it returns is called once, at the end. What they throw is reported. */
  onAsked(keys: readonly string[], label: string | undefined): (end: AcquisitionEnd) => void;
}
