import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import {
  type CanActivate,
  type ExecutionContext,
  ForbiddenException,
  Inject,
  Injectable,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { BOARD_HEADERS } from './board-headers.js';
import { BOARD_SETTINGS, type BoardSettings } from './board-options.js';

/** The properties that the requests of Express and Fastify share. */
export interface BoardRequest {
  readonly url: string;
  /** Express: the whole address, even inside a router. */
  readonly originalUrl?: string;
  readonly headers: IncomingHttpHeaders;
  readonly body?: unknown;
}

export const REFUSED =
  'The lock board refuses everyone, because it has no guards: give ReplicaLockBoardModule.forRoot({ guards: [...] }). ' +
  'With NODE_ENV=development, on your own machine, it needs none.';

/**
 * The first guard of every route: sets the headers of the answer, and refuses if the application has
 * given no guards. During development a board without guards answers only to names that no other
 * site can have.
 */
@Injectable()
export class BoardAccessGuard implements CanActivate {
  constructor(
    private readonly adapters: HttpAdapterHost,
    @Inject(BOARD_SETTINGS) private readonly settings: BoardSettings,
  ) {}

  canActivate(context: ExecutionContext): boolean {
    const response: unknown = context.switchToHttp().getResponse();
    for (const [name, value] of Object.entries(BOARD_HEADERS))
      this.adapters.httpAdapter.setHeader(response, name, value);
    const { access } = this.settings;
    if (access === 'refused') throw new ForbiddenException(REFUSED);
    if (access === 'open') {
      const host = hostIn(context.switchToHttp().getRequest<BoardRequest>().headers);
      if (!isPrivateName(host))
        throw new ForbiddenException(
          `Without guards the lock board answers only to IP addresses and names such as localhost, not to '${String(host)}': ` +
            'give ReplicaLockBoardModule.forRoot({ guards: [...] }).',
        );
    }
    return true;
  }
}

/**
 * Refuses what another site's page asks for in the name of an operator, even if the application
 * answers other sites (CORS). Programs that are no browsers send neither header.
 */
@Injectable()
export class SameOriginGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest<BoardRequest>();
    const reason = whyForeign(headers);
    if (reason === undefined) return true;
    throw new ForbiddenException(`The lock board answers only its own page: ${reason}.`);
  }
}

/** The header without which no key is taken away. A form of another site cannot set it. */
export const RELEASE_HEADER = { name: 'x-replica-lock-board', value: 'release' } as const;

@Injectable()
export class ReleaseGuard implements CanActivate {
  constructor(@Inject(BOARD_SETTINGS) private readonly settings: BoardSettings) {}

  canActivate(context: ExecutionContext): boolean {
    if (!this.settings.allowForceRelease)
      throw new ForbiddenException(
        'The lock board takes no key away unless ReplicaLockBoardModule.forRoot has allowForceRelease: true.',
      );
    const { headers } = context.switchToHttp().getRequest<BoardRequest>();
    if (headers[RELEASE_HEADER.name] === RELEASE_HEADER.value) return true;
    throw new ForbiddenException(
      `The header '${RELEASE_HEADER.name}: ${RELEASE_HEADER.value}' is missing: only the page of the lock board may ask for this.`,
    );
  }
}

/**
 * The middle of a sentence; undefined if the request is of the same origin or of no browser. A
 * browser sends Sec-Fetch-Site over TLS and to localhost, and Origin with every request that changes
 * something: https://www.w3.org/TR/fetch-metadata/.
 */
export function whyForeign(headers: IncomingHttpHeaders): string | undefined {
  const site = headers['sec-fetch-site'];
  if (site !== undefined)
    return site === 'same-origin' || site === 'none' ? undefined : `the request is '${site}'`;
  const { origin } = headers;
  const host = hostIn(headers);
  if (origin === undefined || hostOf(origin) === host) return undefined;
  return `the page is of '${origin}', and this server is '${String(host)}'`;
}

function hostIn(headers: IncomingHttpHeaders): string | undefined {
  const { host = headers[':authority'] } = headers;
  return typeof host === 'string' ? host : undefined;
}

/**
 * False for a name that another site may own and let lead to this server (DNS rebinding). For the
 * browser, both are one site then. Undefined: a program that is no browser.
 */
export function isPrivateName(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = hostnameOf(host);
  if (name === undefined) return false;
  return isIP(name) > 0 || name.startsWith('[') || /^[^.]+$|\.(localhost|local|internal|test)$/.test(name);
}

function hostnameOf(host: string): string | undefined {
  try {
    return new URL(`http://${host}`).hostname;
  } catch {
    return undefined;
  }
}

function hostOf(origin: string): string | undefined {
  try {
    return new URL(origin).host;
  } catch {
    return undefined;
  }
}
