// Elements without a framework, beside what the page of the board has.

import { sync } from './board.js';

/** @typedef {Record<string, string | number | boolean | undefined>} Attributes */

/**
 * @template {Element} E
 * @param {E} element
 * @param {Attributes} attributes a boolean sets or removes the attribute, undefined removes it
 * @returns {E}
 */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    const text = value === true ? '' : value === undefined || value === false ? null : String(value);
    if (element.getAttribute(name) === text) continue;
    if (text === null) element.removeAttribute(name);
    else element.setAttribute(name, text);
  }
  return element;
}

/**
 * @param {string} name
 * @param {Attributes} [attributes]
 * @param {...(Node | string)} children
 */
export function svg(name, attributes = {}, ...children) {
  const element = set(document.createElementNS('http://www.w3.org/2000/svg', name), attributes);
  element.append(...children);
  return element;
}

/**
 * The element of the page with this id.
 * @param {string} id
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`The page has no element '${id}'`);
  return element;
}

/**
 * The board's `sync`, for elements of every kind: SVG, too.
 * @type {<T>(
 *   parent: Element,
 *   items: readonly T[],
 *   idOf: (item: T) => string,
 *   create: (item: T) => Element,
 *   update: (element: Element, item: T) => void,
 * ) => void}
 */
export const keep = /** @type {any} */ (sync);

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
}

/** @param {number} ms */
export function seconds(ms) {
  return `${(Math.max(0, ms) / 1_000).toFixed(ms < 100_000 ? 1 : 0)} s`;
}
