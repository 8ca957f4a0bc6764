import { ErrorReply, type Reply } from '../resp.js';

/** Where a server of a Cluster sends those who asked it for a slot that it does not serve, or not any more, or not yet. */
export type Redirection =
  /** Another one serves the slot. */
  | { readonly kind: 'moved'; readonly slot: number; readonly to: string }
  /** The slot is on its way to another one, and the key is not here (any more). */
  | { readonly kind: 'ask'; readonly slot: number; readonly to: string }
  /** The slot is on its way, and one of several keys has gone ahead. */
  | { readonly kind: 'split' };

export function redirectionOf(reply: Reply | undefined): Redirection | undefined {
  if (!(reply instanceof ErrorReply)) return undefined;
  const match = /^(MOVED|ASK) (\d+) (\S+)/.exec(reply.message);
  if (match !== null)
    return { kind: match[1] === 'MOVED' ? 'moved' : 'ask', slot: Number(match[2]), to: match[3]! };
  return reply.code === 'TRYAGAIN' ? { kind: 'split' } : undefined;
}
