import type { ListRequest } from '../store/lock-store.js';
import { readOption, refuseUnknown, type OptionKind } from './option-kinds.js';

const GLOB: OptionKind<string> = {
  accepted: 'a glob of 1 to 1024 characters, well-formed Unicode',
  read: (value) =>
    typeof value === 'string' && value !== '' && value.length <= 1_024 && value.isWellFormed()
      ? value
      : undefined,
};

const CURSOR: OptionKind<string> = {
  accepted: 'the cursor of the page before',
  read: (value) => (typeof value === 'string' && value !== '' ? value : undefined),
};

/** Throws `LockOptionsError` for an option that is not accepted, or is not among the `known`. */
export function listOptionsOf(
  options: ListRequest = {},
  known: readonly (keyof ListRequest)[] = ['match', 'cursor'],
): ListRequest {
  refuseUnknown(options, known);
  const { match, cursor } = options;
  return {
    match: match === undefined ? undefined : readOption('match', GLOB, match),
    cursor: cursor === undefined ? undefined : readOption('cursor', CURSOR, cursor),
  };
}
