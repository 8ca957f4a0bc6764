import { ErrorReply, type Reply } from '../resp.js';

/** How a node of a Cluster redirects a request for a slot that this node does not serve. */
export type Redirection =
  /** Another node serves the slot. */
  | { readonly kind: 'moved'; readonly slot: number; readonly to: string }
  /** The slot is being moved to another node, and the key is not on this node. */
  | { readonly kind: 'ask'; readonly slot: number; readonly to: string }
  /** The slot is being moved, and only some of several keys are on this node. */
  | { readonly kind: 'split' };

export function redirectionOf(reply: Reply | undefined): Redirection | undefined {
  if (!(reply instanceof ErrorReply)) return undefined;
  const match = /^(MOVED|ASK) (\d+) (\S+)/.exec(reply.message);
  if (match !== null)
    return { kind: match[1] === 'MOVED' ? 'moved' : 'ask', slot: Number(match[2]), to: match[3]! };
  return reply.code === 'TRYAGAIN' ? { kind: 'split' } : undefined;
}
