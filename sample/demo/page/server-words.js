// What the page says about a server.

import { bytes } from './board.js';
import { seconds } from './dom.js';

/**
 * What the picture shows of a server.
 * @typedef {object} ServerView
 * @property {string} name
 * @property {'master' | 'replica'} role
 * @property {'running' | 'stopped' | 'killed' | 'cut off'} condition
 * @property {number} offset in the replication stream, in bytes
 * @property {string} [follows] the name of the master of this replica, if the link is up
 * @property {number} [lag] bytes behind the master
 * @property {number} [linkAge] in ms
 * @property {number} [quarantine] the age from which this link counts, in ms
 * @property {number} [heldBackFor] of a master: ms until new locks
 */

/** The words for what a server is now. @param {ServerView} server */
export function roleOf(server) {
  return server.condition === 'running' ? server.role : server.condition;
}

/** A sentence for those who do not see the picture. @param {ServerView} server */
export function inWords(server) {
  const parts = [roleOf(server), positionOf(server), lagOf(server), noteOf(server)];
  return `${server.name}: ${parts.filter((part) => part !== '').join(', ')}`;
}

/** @param {ServerView} server @param {boolean} [isShort] */
export function positionOf({ offset }, isShort = false) {
  return `${isShort ? 'at' : 'offset'} ${offset.toLocaleString('en')}`;
}

/** The last line in a server's box, short on a phone. @param {ServerView} server @param {boolean} [isShort] */
export function noteOf(server, isShort = false) {
  const { condition, role, linkAge, quarantine = 0, heldBackFor = 0 } = server;
  if (condition === 'killed') return 'kill -9';
  if (condition === 'stopped') return isShort ? 'no answer' : 'does not answer';
  if (condition === 'cut off') return isShort ? 'no link' : 'no link to the master';
  if (role === 'master') {
    if (heldBackFor === 0) return 'grants locks';
    return `${isShort ? 'locks' : 'new locks'} in ${seconds(heldBackFor)}`;
  }
  if (linkAge === undefined) return 'no link';
  if (linkAge < quarantine) return `${isShort ? '' : 'counts '}in ${seconds(quarantine - linkAge)}`;
  return `link ${seconds(linkAge)}`;
}

/** @param {ServerView} server @param {boolean} [isShort] */
export function lagOf({ role, condition, lag }, isShort = false) {
  if (lag === undefined || condition === 'killed' || (role === 'master' && condition === 'running'))
    return '';
  if (lag === 0) return 'in step';
  return isShort ? `−${bytes(lag)}` : `${bytes(lag)} behind`;
}

/**
 * How much of its quarantine a link has behind it, 0 to 1. Undefined without a link.
 * @param {ServerView} server
 */
export function shareOf({ condition, role, linkAge, quarantine = 0 }) {
  if (condition !== 'running' || role === 'master' || linkAge === undefined) return undefined;
  return quarantine === 0 ? 1 : Math.min(1, linkAge / quarantine);
}
