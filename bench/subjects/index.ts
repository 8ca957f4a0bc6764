import { floors } from './floors.js';
import { otherPeers } from './other-peers.js';
import { redlocks } from './redlock.js';
import { replicaLock } from './replica-lock.js';
import type { Subject } from './subject.js';

export const subjects: readonly Subject[] = [...replicaLock, ...redlocks, ...otherPeers, ...floors];

export function subjectNamed(name: string): Subject {
  const subject = subjects.find((each) => each.name === name);
  if (subject === undefined) throw new Error(`There is no subject '${name}'`);
  return subject;
}
