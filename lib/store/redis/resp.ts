export type Command = readonly [name: string, ...args: (string | number)[]];

/** What Redis answered, decoded from RESP 2. An error reply is a value here: the command was heard and refused. */
export type Reply = string | number | null | Reply[] | ErrorReply;

/** An error that Redis answered, such as `NOPERM this user has no permissions ...`. */
export class ErrorReply {
  constructor(readonly message: string) {}

  /** The upper-case word it begins with. */
  get code(): string {
    return /^[A-Z]+/.exec(this.message)?.[0] ?? 'ERR';
  }

  /** The server turns this client away and closes the connection. */
  get isFarewell(): boolean {
    return /^DENIED |max number of clients/.test(this.message);
  }
}

export interface Address {
  readonly host: string;
  readonly port: number;
  /** A unix socket, in place of host and port. */
  readonly path?: string;
}

export function addressText({ host, port, path }: Address): string {
  return path ?? (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
}
