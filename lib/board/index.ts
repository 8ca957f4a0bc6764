export type { ReplicaLockBoardOptions } from './board-options.js';
export { ReplicaLockBoardModule } from './replica-lock-board.module.js';
