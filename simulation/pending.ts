/** Faults that the library does not stand yet, and rules that it breaks: brought, and judged, only by a run that names its faults. */
export const PENDING: ReadonlySet<string> = new Set([
  'clients paused',
  'clients paused beside a hung replica',
  'answers lost',
  'memory full',
  'silent master',
  'key forbidden',
  'a release that had run was told as a loss',
]);
