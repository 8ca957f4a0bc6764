import {
  BadRequestException,
  ConflictException,
  Controller,
  Get,
  HttpException,
  Inject,
  Logger,
  NotFoundException,
  Post,
  Req,
  Res,
  type Type,
  UseGuards,
  VERSION_NEUTRAL,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { LockKeyError, LockOptionsError, LockUnavailableError } from '../lock/errors.js';
import { keyOf } from '../lock/keys.js';
import type { LockService } from '../lock/lock-service.js';
import { BoardFeed } from './board-feed.js';
import { BoardAccessGuard, type BoardRequest, ReleaseGuard, SameOriginGuard } from './board-guards.js';
import type { BoardLocks, BoardRelease } from './board-model.js';
import { BOARD_SERVICE, type ReplicaLockBoardOptions } from './board-options.js';
import type { StreamResponse } from './event-stream.js';
import { PAGE_FILES, pageFile, pageHtml } from './page-files.js';
import { lockOfInfo } from './snapshot.js';

/**
 * The routes of a board. They answer by themselves (`@Res`) and read the request without `@Query`
 * and `@Body`, so that interceptors and pipes of the application change neither.
 */
class BoardRoutes {
  private readonly logger = new Logger('ReplicaLock');

  constructor(
    @Inject(BOARD_SERVICE) private readonly service: LockService,
    @Inject(BoardFeed) private readonly feed: BoardFeed,
    @Inject(HttpAdapterHost) private readonly adapters: HttpAdapterHost,
  ) {}

  @Get()
  page(@Req() request: BoardRequest, @Res() response: unknown): void {
    const { type, text } = pageHtml(addressOf(request).pathname);
    this.answer(response, type, text);
  }

  @Get([...PAGE_FILES])
  file(@Req() request: BoardRequest, @Res() response: unknown): void {
    const file = pageFile(addressOf(request).pathname);
    if (file === undefined) throw new NotFoundException();
    this.answer(response, file.type, file.text);
  }

  @Get('api/events')
  @UseGuards(SameOriginGuard)
  events(@Res() response: StreamResponse): void {
    this.feed.open(response);
  }

  /** A page of the locks of all processes. */
  @Get('api/locks')
  @UseGuards(SameOriginGuard)
  async locks(@Req() request: BoardRequest, @Res() response: unknown): Promise<void> {
    const { searchParams } = addressOf(request);
    const page = await answered(() =>
      this.service.listPage({
        match: searchParams.get('match') ?? undefined,
        cursor: searchParams.get('cursor') ?? undefined,
      }),
    );
    const locks = page.locks.map(lockOfInfo);
    this.answerJson(response, { locks, ...(page.cursor !== undefined && { cursor: page.cursor }) });
  }

  /** The holders of one key. */
  @Get('api/lock')
  @UseGuards(SameOriginGuard)
  async lock(@Req() request: BoardRequest, @Res() response: unknown): Promise<void> {
    const key = addressOf(request).searchParams.get('key') ?? '';
    const infos = await answeredAbout(key, () => this.service.inspectAll(key));
    this.answerJson(response, { locks: infos.map(lockOfInfo) });
  }

  @Post('api/release')
  @UseGuards(SameOriginGuard, ReleaseGuard)
  async release(@Req() request: BoardRequest, @Res() response: unknown): Promise<void> {
    const { key, owner } = releaseOf(request.body);
    const wasHeld = await answeredAbout(key, () => this.service.forceRelease(key, owner));
    // As JSON: a key may contain line breaks.
    if (wasHeld)
      this.logger.warn(
        `The lock board took the key ${JSON.stringify(key)} away from ${owner === undefined ? 'all its holders' : JSON.stringify(owner)}.`,
      );
    this.answer(response, 'application/json; charset=utf-8', JSON.stringify({ wasHeld }));
  }

  private answerJson(response: unknown, body: BoardLocks): void {
    this.answer(response, 'application/json; charset=utf-8', JSON.stringify(body));
  }

  private answer(response: unknown, type: string, text: string): void {
    const { httpAdapter } = this.adapters;
    httpAdapter.setHeader(response, 'content-type', type);
    httpAdapter.reply(response, text, 200);
  }
}

/** A class of its own for each board, because Nest keeps path and guards with the class. */
export function boardController(path: string, guards: ReplicaLockBoardOptions['guards'] = []): Type<object> {
  class LockBoardController extends BoardRoutes {}
  // No version: an application with versions serves the board beside all of them.
  Controller({ path, version: VERSION_NEUTRAL })(LockBoardController);
  UseGuards(BoardAccessGuard, ...guards)(LockBoardController);
  return LockBoardController;
}

function addressOf({ url, originalUrl }: BoardRequest): URL {
  // A client may send an address with any host, even with one that cannot be parsed.
  const path = (originalUrl ?? url).replace(/^[a-z]+:\/\/[^/?#]*/i, '').replace(/^\//, '');
  return new URL(`http://board/${path}`);
}

/** Checks the body of a release, which may be anything. */
function releaseOf(body: unknown): BoardRelease {
  if (typeof body !== 'object' || body === null)
    throw new BadRequestException('The body is missing, or the application parses no JSON bodies.');
  const { key, owner, confirmation } = body as Record<string, unknown>;
  if (typeof key !== 'string') throw new BadRequestException("The body has no 'key'.");
  if (owner !== undefined && (typeof owner !== 'string' || owner === ''))
    throw new BadRequestException("'owner' is no text.");
  if (confirmation !== key) throw new BadRequestException("'confirmation' is not the key.");
  return { key, confirmation, ...(owner !== undefined && { owner }) };
}

/** Asks about one key. The key may hold a value of another program, which is not shown. */
function answeredAbout<T>(key: string, ask: () => Promise<T>): Promise<T> {
  return answered(async () => {
    keyOf(key);
    try {
      return await ask();
    } catch (error) {
      if (error instanceof LockKeyError)
        throw new ConflictException('The key holds a value that no lock wrote. It was left alone.');
      throw error;
    }
  });
}

/**
 * Answers errors of the lock service with their own words, which operators may read, whatever the
 * application makes of lock errors elsewhere.
 */
async function answered<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof LockKeyError || error instanceof LockOptionsError)
      throw new BadRequestException(error.message);
    if (error instanceof LockUnavailableError) throw new HttpException(error.message, 503);
    throw error;
  }
}
