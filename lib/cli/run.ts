import { readFileSync } from 'node:fs';
import { LockKeyError, LockOptionsError, LockUnavailableError } from '../lock/errors.js';
import { keyOf, ownerOf } from '../lock/keys.js';
import type { LockService } from '../lock/lock-service.js';
import { createLockService } from '../module/create-lock-service.js';
import { readArguments, type Invocation } from './arguments.js';
import { inspect } from './commands/inspect.js';
import { ls } from './commands/ls.js';
import { release } from './commands/release.js';
import { doctor } from './doctor/doctor.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { OutputClosed, type Output } from './output.js';
import { targetOf, type Environment, type Target } from './target.js';
import { USAGE, UsageError } from './usage.js';

/** ms that a command waits for Redis. */
const PATIENCE = 3_000;

type Command = Exclude<Invocation, { kind: 'help' | 'version' }>;

/** Runs the command line. Resolves with the exit code once every connection is closed. */
export async function run(args: readonly string[], env: Environment, output: Output): Promise<ExitCode> {
  let masking = output;
  try {
    const invocation = readArguments(args);
    if (invocation.kind === 'help' || invocation.kind === 'version') {
      await output.line(invocation.kind === 'help' ? USAGE.trimEnd() : version());
      await output.written();
      return EXIT.fine;
    }
    const target = targetOf(invocation.options, env);
    masking = output.masking(target.secrets);
    const code =
      invocation.kind === 'doctor'
        ? await doctor(target, invocation, masking)
        : await onService(invocation, target, masking);
    await masking.written();
    return code;
  } catch (error) {
    if (error instanceof OutputClosed) return EXIT.fine;
    masking.error(messageOf(error));
    if (error instanceof UsageError) masking.error("Try 'nestjs-replica-lock --help'.");
    return codeOf(error);
  }
}

async function onService(
  command: Exclude<Command, { kind: 'doctor' }>,
  target: Target,
  output: Output,
): Promise<ExitCode> {
  if (command.kind !== 'ls') checkKey(command.key);
  if (command.kind === 'release') ownerOf(command.owner);
  const service = await serviceFor(target);
  try {
    if (command.kind === 'ls') return await ls(service, command, output);
    if (command.kind === 'inspect') return await inspect(service, command, output);
    return await release(service, command, output);
  } finally {
    await service.close();
  }
}

/** A service that only looks: what it would demand of a lock does not matter. */
function serviceFor({ connection, keyPrefix }: Target): Promise<LockService> {
  return createLockService({
    connection,
    keyPrefix,
    replicaTimeout: PATIENCE,
    allowNoReplicas: true,
    allowEviction: true,
  });
}

function checkKey(key: string): void {
  try {
    keyOf(key);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function codeOf(error: unknown): ExitCode {
  if (error instanceof LockUnavailableError) return EXIT.unavailable;
  if (error instanceof LockKeyError) return EXIT.no;
  if (error instanceof UsageError || error instanceof LockOptionsError || error instanceof TypeError)
    return EXIT.usage;
  return EXIT.unavailable;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
