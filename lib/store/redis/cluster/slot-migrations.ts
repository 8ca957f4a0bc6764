import { ErrorReply, type Command, type Reply } from '../resp.js';
import { infoField } from '../replication/replication-info.js';

/**
 * One atomic migration of slots, as the master that takes them (import) or the one that gives them
 * away (export) tells of it.
 */
export interface SlotMigration {
  /** The same on both sides. */
  readonly id: string;
  readonly isImport: boolean;
  /** It was given up, as far as this side knows. */
  readonly hasFailed: boolean;
  /**
   * The side that gave the slots away has stopped to serve them before it learned of their new
   * master, and served nobody in between.
   */
  readonly isProof: boolean;
  readonly slots: readonly (readonly [from: number, to: number])[];
  /** ms that this state has lasted. */
  readonly age: number;
}

/**
 * What to ask a master: Valkey 9 has the first command, Redis 8.4 the second, and others have
 * neither.
 */
export const MIGRATION_QUESTIONS: readonly Command[] = [
  ['cluster', 'getslotmigrations'],
  ['cluster', 'migration', 'status', 'all'],
  ['time'],
  ['info', 'server'],
];

/**
 * Reads the answers; undefined where the user may not ask. A server that has no such command has no
 * such migrations. Redis 6 takes an unknown one for one that is forbidden.
 */
export function parseSlotMigrations([valkey, redis, time, server]: readonly (Reply | undefined)[]):
  SlotMigration[] | undefined {
  const isOld = infoField(server, 'redis_version')?.startsWith('6.') === true;
  if (!isOld && (isForbidden(valkey) || isForbidden(redis))) return undefined;
  const now = Array.isArray(time) ? Number(time[0]) * 1000 : undefined;
  return [valkey, redis].flatMap((reply) =>
    Array.isArray(reply) ? reply.map((each) => migrationOf(each, now)) : [],
  );
}

function isForbidden(reply: Reply | undefined): boolean {
  return reply instanceof ErrorReply && reply.code === 'NOPERM';
}

function migrationOf(reply: Reply, now: number | undefined): SlotMigration {
  const fields = new Map<string, string>();
  if (Array.isArray(reply))
    for (let i = 0; i + 1 < reply.length; i += 2) fields.set(String(reply[i]), String(reply[i + 1]));
  const field = (...names: string[]): string => names.map((name) => fields.get(name)).find(Boolean) ?? '';
  const operation = field('operation').toLowerCase();
  const state = field('state');
  const changedAt = Number(field('last_update_time')) * 1000 || Number(field('end_time'));
  return {
    id: field('name', 'id'),
    isImport: operation === 'import',
    hasFailed: ['failed', 'cancelled', 'canceled'].includes(state),
    isProof: operation === 'export' && state === 'success',
    slots: field('slot_ranges', 'slots')
      .split(' ')
      .map((range) => range.split('-').map(Number))
      .map(([from = 0, to = from]) => [from, to]),
    age: now === undefined || !(changedAt > 0) ? 0 : now - changedAt,
  };
}

/** Servers tell these times in whole seconds. */
const AGE_UNCERTAINTY = 2_000;

/**
 * The slots that came to their master by an atomic migration which ended within the last `ms`, and
 * whose former master does not say that it was successful.
 *
 * For the last step the former master stops its writes and waits for the new one to take the slots,
 * but not for ever (10 s in Valkey 9.1). Then it goes on to serve them, and what it grants is lost
 * if the new master, which was only frozen, takes the slots all the same. The new one calls that a
 * success, the former one does not.
 */
export function unprovenSlots(
  migrations: readonly SlotMigration[],
  ms: number,
): readonly (readonly [from: number, to: number])[] {
  const proven = new Set(migrations.filter(({ isProof }) => isProof).map(({ id }) => id));
  return migrations
    .filter(
      ({ isImport, hasFailed, age, id }) =>
        isImport && !hasFailed && age <= ms + AGE_UNCERTAINTY && !proven.has(id),
    )
    .flatMap(({ slots }) => slots);
}
