import type { LockService } from '../../lock/lock-service.js';
import { EXIT, type ExitCode } from '../exit-codes.js';
import { table, visible, type Output } from '../output.js';
import { HEAD, rowOf } from './lock-rows.js';

export async function inspect(
  service: LockService,
  { key, json }: { readonly key: string; readonly json: boolean },
  output: Output,
): Promise<ExitCode> {
  const locks = await service.inspectAll(key);
  const isFree = locks.length === 0;
  if (json) await output.json({ key, locks });
  else if (isFree) await output.line(`${visible(key)} is free.`);
  else {
    for (const line of table([HEAD, ...locks.map(rowOf)])) await output.line(line);
    for (const { kept } of locks)
      if (kept !== undefined) await output.line(`Result: ${visible(JSON.stringify(kept.result) ?? 'none')}`);
  }
  return isFree ? EXIT.no : EXIT.fine;
}
