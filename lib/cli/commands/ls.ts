import type { LockService } from '../../lock/lock-service.js';
import { EXIT, type ExitCode } from '../exit-codes.js';
import { columnWidths, table, type Output } from '../output.js';
import { HEAD, rowOf } from './lock-rows.js';

/** Prints each page as it comes. */
export async function ls(
  service: LockService,
  { match, json }: { readonly match: string | undefined; readonly json: boolean },
  output: Output,
): Promise<ExitCode> {
  let widths: readonly number[] = [];
  let isFirst = true;
  let cursor: string | undefined;
  do {
    const page = await service.listPage({ match, cursor });
    const rows = page.locks.map(rowOf);
    if (json) for (const info of page.locks) await output.json(info);
    else if (rows.length > 0) {
      const shown = isFirst ? [HEAD, ...rows] : rows;
      widths = columnWidths(shown, widths);
      for (const line of table(shown, widths)) await output.line(line);
      isFirst = false;
    }
    ({ cursor } = page);
  } while (cursor !== undefined);
  if (isFirst && !json) output.error('No key is held.');
  return EXIT.fine;
}
