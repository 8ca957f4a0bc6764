import { floors, GROUP_COMMIT } from './floors.js';
import { otherPeers } from './other-peers.js';
import { redlocks } from './redlock.js';
import { OURS, replicaLock } from './replica-lock.js';
import { BARE_SOCKET_ASKING, socketFloors } from './socket-floors.js';
import type { Subject } from './subject.js';

export const subjects: readonly Subject[] = [
  ...replicaLock,
  ...redlocks,
  ...otherPeers,
  ...floors,
  ...socketFloors,
];

/** This library and the floors that it is compared with in runs too long for every subject. */
export const COMMITTING_IN_GROUPS: readonly string[] = [OURS, GROUP_COMMIT, BARE_SOCKET_ASKING];

export function subjectNamed(name: string): Subject {
  const subject = subjects.find((each) => each.name === name);
  if (subject === undefined) throw new Error(`There is no subject '${name}'`);
  return subject;
}
