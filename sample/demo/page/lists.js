// The locks, the charges and the events, as lists.

import { h, setText, shown } from './board.js';
import { counted, keep, seconds, set } from './dom.js';

/** @typedef {import('../model.js').DemoState} DemoState */
/** @typedef {import('../model.js').DemoEvent} DemoEvent */

const MOST_ROWS = 5;
const MOST_ORDERS = 24;
const MOST_EVENTS = 200;

/** @type {Record<DemoState['lock'], string>} */
const UNDER = {
  none: 'without a lock',
  usual: 'under the usual lock',
  replica: 'under the replica lock',
};

/** @typedef {{ order: string, text: string, look: 'held' | 'works' | 'twice' | 'none', waits: number }} LockRow */

/**
 * Who has an order, and who waits for it. Two shops that work on one order at a time are what a
 * lock has to prevent.
 * @param {DemoState} state
 * @returns {LockRow[]}
 */
export function lockRowsOf({ locks, payments }) {
  const orders = new Set([...payments, ...locks].map(({ order }) => order));
  return [...orders].map((order) => {
    const lock = locks.find((each) => each.order === order);
    const mine = payments.filter((payment) => payment.order === order);
    const working = mine.filter(({ step }) => step === 'working').map(({ shop }) => shop);
    const holder = lock === undefined ? undefined : (lock.holder ?? 'a shop that is gone');
    const who = [...new Set(holder === undefined ? working : [...working, holder])].toSorted();
    const waits = mine.length - working.length;
    if (who.length > 1) return { order, text: `${who.join(' and ')} at once`, look: 'twice', waits };
    if (lock !== undefined)
      return { order, text: `${holder} · ${seconds(lock.remainingTime)}`, look: 'held', waits };
    return { order, text: who.join(''), look: who.length > 0 ? 'works' : 'none', waits };
  });
}

/** @param {Element} place */
export function locksIn(place) {
  const rows = h('div');
  const more = h('p', { class: 'summary' });
  place.append(rows, more);
  /** @param {DemoState} state */
  return (state) => {
    const all = lockRowsOf(state);
    keep(
      rows,
      all.slice(0, MOST_ROWS),
      ({ order }) => order,
      () =>
        h(
          'div',
          { class: 'row' },
          h('span', { class: 'key mono' }),
          h('span'),
          h('span', { class: 'tag waits' }),
        ),
      (row, { order, text, look, waits }) => {
        const [key, who, waiting] = /** @type {[Element, Element, Element]} */ ([...row.children]);
        setText(set(key, { title: shown(order) }), shown(order));
        setText(set(who, { class: `tag ${look}`, hidden: text === '' }), text);
        setText(set(waiting, { hidden: waits === 0 }), `${waits} waiting`);
      },
    );
    const hidden = all.length - MOST_ROWS;
    setText(
      more,
      all.length === 0 ? 'No lock is held, and no payment waits.' : hidden > 0 ? `and ${hidden} more` : '',
    );
  };
}

/**
 * The orders that the bank has charged under the lock in use. Those charged twice come first.
 * @param {Element} place
 * @param {Element} title
 * @param {Element} summary
 */
export function chargesIn(place, title, summary) {
  const list = h('ul', { class: 'orders' });
  place.append(list);
  /** @param {DemoState} state */
  return ({ lock, bank, results }) => {
    const orders = bank.orders.filter((order) => order.lock === lock);
    const twice = orders.filter(({ charges }) => charges > 1);
    const once = orders.filter(({ charges }) => charges <= 1);
    keep(
      list,
      [...twice, ...once].slice(0, MOST_ORDERS),
      ({ order }) => order,
      () =>
        h(
          'li',
          {},
          h('span', { class: 'key mono' }),
          h('span', { class: 'tag' }, h('span', { class: 'word' }, 'charged '), h('span')),
        ),
      (item, { order, charges }) => {
        const [key, tag] = /** @type {[Element, Element]} */ ([...item.children]);
        const look = charges > 1 ? 'twice' : 'once';
        set(item, { class: `appears ${look}` });
        setText(set(key, { title: shown(order) }), shown(order));
        set(tag, { class: `tag ${look}` });
        if (tag.lastElementChild !== null)
          setText(tag.lastElementChild, charges > 1 ? `${charges}×` : 'once');
      },
    );
    setText(title, `Charges ${UNDER[lock]}`);
    const parts = [`${counted(results[lock].orders, 'order')} charged`, `${twice.length} of them twice`];
    if (bank.refused > 0) parts.push(`${counted(bank.refused, 'late charge')} refused by fencing token`);
    setText(summary, orders.length === 0 ? 'none yet' : parts.join(' · '));
  };
}

/**
 * The event line, the newest first.
 * @param {Element} list
 */
export function eventsIn(list) {
  /** @param {readonly DemoEvent[]} events oldest first */
  return (events) => {
    list.prepend(...events.slice(-MOST_EVENTS).map(eventLine).toReversed());
    while (list.children.length > MOST_EVENTS) list.lastElementChild?.remove();
  };
}

/** @param {DemoEvent} event */
function eventLine({ at, kind, tone, text }) {
  const isFault = kind === 'fault' || kind === 'sentinel';
  const look = kind === 'round' ? 'round' : tone === 'plain' && isFault ? 'wait' : tone;
  return h('li', { class: `appears ${look}` }, h('time', {}, seconds(at)), h('span', {}, shown(text)));
}
