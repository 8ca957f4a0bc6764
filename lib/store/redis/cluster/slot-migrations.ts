import { ErrorReply, type Command, type Reply } from '../resp.js';
import { infoField } from '../replication/replication-info.js';
import type { SlotRanges } from './hash-slot.js';

/**
 * One atomic migration of slots, as described by the master that takes them (import) or the master
 * that gives them away (export).
 */
export interface SlotMigration {
  /** The same on both sides. */
  readonly id: string;
  readonly isImport: boolean;
  /** The migration was given up, as far as this side knows. */
  readonly hasFailed: boolean;
  /**
   * The giving side stopped serving the slots before the news of their new master came, and served
   * no request in between.
   */
  readonly isProof: boolean;
  readonly slots: SlotRanges;
  /** ms that this state has lasted. */
  readonly age: number;
}

/**
 * The commands that ask a master. Valkey 9 has the first command, Redis 8.4 the second, other versions
 * have neither.
 */
export const MIGRATION_COMMANDS: readonly Command[] = [
  ['cluster', 'getslotmigrations'],
  ['cluster', 'migration', 'status', 'all'],
  ['time'],
  ['info', 'server'],
];

/**
 * Reads the answers; undefined if the user may not ask. A server without such a command has no such
 * migrations. Redis 6 reports an unknown subcommand as forbidden.
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

/** Servers report these times in whole seconds. */
const AGE_UNCERTAINTY = 2_000;

/**
 * The slots that came to their master by an atomic migration, which ended within the last `ms` and
 * which the former master does not report as successful.
 *
 * In the last step the former master stops all writes and waits until the new master takes the
 * slots. That wait is limited (10 s in Valkey 9.1). Then the former master serves the slots again.
 * A new master that was only frozen still takes the slots afterwards, and the locks that were
 * granted in between are lost. The new master reports such a migration as successful, the former
 * master does not.
 */
export function unprovenSlots(migrations: readonly SlotMigration[], ms: number): SlotRanges {
  const proven = new Set(migrations.filter(({ isProof }) => isProof).map(({ id }) => id));
  return migrations
    .filter(
      ({ isImport, hasFailed, age, id }) =>
        isImport && !hasFailed && age <= ms + AGE_UNCERTAINTY && !proven.has(id),
    )
    .flatMap(({ slots }) => slots);
}
