import { type DynamicModule, Inject, Logger, Module, type OnModuleInit } from '@nestjs/common';
import { getLockServiceToken } from '../tokens.js';
import { BoardFeed } from './board-feed.js';
import { boardController } from './board.controller.js';
import {
  BOARD_SERVICE,
  BOARD_SETTINGS,
  boardSettings,
  type BoardSettings,
  type ReplicaLockBoardOptions,
} from './board-options.js';

/**
 * Serves a page that shows the servers, the locks of all processes, and what happens in this
 * process. Import the module beside `ReplicaLockModule`, with guards that let only operators in.
 * @example
 * ```ts
 * ReplicaLockBoardModule.forRoot({ path: 'ops/locks', guards: [OperatorGuard] })
 * ```
 */
@Module({})
export class ReplicaLockBoardModule implements OnModuleInit {
  /** @internal */
  constructor(@Inject(BOARD_SETTINGS) private readonly settings: BoardSettings) {}

  static forRoot(options: ReplicaLockBoardOptions = {}): DynamicModule {
    const settings = boardSettings(options);
    return {
      module: ReplicaLockBoardModule,
      imports: [...(options.imports ?? [])],
      controllers: [boardController(settings.path, options.guards)],
      providers: [
        { provide: BOARD_SETTINGS, useValue: settings },
        { provide: BOARD_SERVICE, useExisting: getLockServiceToken(options.name) },
        BoardFeed,
      ],
    };
  }

  onModuleInit(): void {
    const { access, path } = this.settings;
    if (access === 'guarded') return;
    const text =
      access === 'open'
        ? 'is open to everyone who reaches this server, because NODE_ENV is development and no guards are given.'
        : 'refuses everyone with 403, because no guards are given: give ReplicaLockBoardModule.forRoot({ guards: [...] }).';
    new Logger('ReplicaLock').warn(`The lock board '${path}' ${text}`);
  }
}
