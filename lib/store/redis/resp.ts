export type Command = readonly [name: string, ...args: (string | number)[]];

/**
 * An answer of Redis, decoded from RESP 2. An error reply is a value: the server has read the
 * command, and refused.
 */
export type Reply = string | number | null | Reply[] | ErrorReply;

/** An error that Redis answered, for example `NOPERM this user has no permissions ...`. */
export class ErrorReply {
  constructor(readonly message: string) {}

  /** The upper-case word at the start of the message. */
  get code(): string {
    return /^[A-Z]+/.exec(this.message)?.[0] ?? 'ERR';
  }

  /** Whether the server rejects this client and closes the connection. */
  get isFarewell(): boolean {
    return /^DENIED |max number of clients/.test(this.message);
  }
}

export interface Address {
  readonly host: string;
  readonly port: number;
  /** The path of a unix socket, instead of host and port. */
  readonly path?: string;
}

export function addressText({ host, port, path }: Address): string {
  return path ?? (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
}
