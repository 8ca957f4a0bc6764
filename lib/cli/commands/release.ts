import type { LockService } from '../../lock/lock-service.js';
import { EXIT, type ExitCode } from '../exit-codes.js';
import { visible, type Output } from '../output.js';

export async function release(
  service: LockService,
  { key, owner, json }: { readonly key: string; readonly owner: string | undefined; readonly json: boolean },
  output: Output,
): Promise<ExitCode> {
  const released = await service.forceRelease(key, owner);
  const from = owner === undefined ? 'all its holders' : visible(owner);
  if (json) await output.json({ key, ...(owner !== undefined && { owner }), released });
  else if (released) await output.line(`${visible(key)} was taken away from ${from}.`);
  else if (owner === undefined) await output.line(`${visible(key)} is free.`);
  else await output.line(`${visible(key)} is not held by ${from}.`);
  return released ? EXIT.fine : EXIT.no;
}
