// What each lock let happen, in three cards. The cards are the switch of the lock, too.

import { h, setText, shown } from './board.js';
import { counted, keep, set } from './dom.js';

/** @typedef {import('../model.js').LockKind} LockKind */
/** @typedef {import('../model.js').LockResult} LockResult */
/** @typedef {{ order: string, charges: number }} ChargedOrder */

/** @type {readonly { lock: LockKind, name: string, how: string, idea: string }[]} */
const CARDS = [
  { lock: 'none', name: 'No lock', how: '', idea: 'Two copies may charge one order at the same time.' },
  {
    lock: 'usual',
    name: 'The usual lock',
    how: 'SET NX PX',
    idea: 'Lost if the master dies before its replicas have the write.',
  },
  {
    lock: 'replica',
    name: 'Replica lock',
    how: 'this library',
    idea: 'Counts only once a majority of the servers has the write.',
  },
];

/** Squares of a card. Orders that were charged twice stay longest. */
const MOST_SQUARES = 48;

/** The verdict on a lock. @param {LockResult} result */
export function verdictOf({ payments, doubleCharges }) {
  if (doubleCharges > 0)
    return {
      look: 'twice',
      number: String(doubleCharges),
      text: doubleCharges === 1 ? 'double charge' : 'double charges',
    };
  if (payments > 0) return { look: 'never', number: '0', text: 'double charges' };
  return { look: 'untried', number: '–', text: 'no payments yet' };
}

/** @param {LockResult} result */
export function factsOf({ payments, refused, kills }) {
  if (payments === 0) return '';
  const facts = [counted(payments, 'payment')];
  if (refused > 0) facts.push(`${refused} refused`);
  if (kills > 0) facts.push(`${counted(kills, 'master')} killed`);
  return facts.join(' · ');
}

/**
 * The orders that are drawn: oldest first, and none of those charged twice is left out for others.
 * @param {readonly ChargedOrder[]} newestFirst
 */
export function squaresOf(newestFirst) {
  const twice = newestFirst.filter(({ charges }) => charges > 1).length;
  let room = Math.max(0, MOST_SQUARES - twice);
  return newestFirst
    .filter(({ charges }) => charges > 1 || room-- > 0)
    .slice(0, MOST_SQUARES)
    .toReversed();
}

/**
 * @param {Element} place a fieldset
 * @param {(lock: LockKind) => void} onChoice
 */
export function verdictIn(place, onChoice) {
  const cards = CARDS.map(({ lock, name, how, idea }) => {
    const input = /** @type {HTMLInputElement} */ (
      h('input', { type: 'radio', name: 'lock', value: lock, 'aria-describedby': `facts-${lock}` })
    );
    input.addEventListener('change', () => onChoice(lock));
    const use = h('span', { class: 'use', 'aria-hidden': 'true' });
    const number = h('b');
    const text = h('span');
    const score = h('span', { class: 'score' }, number, text);
    const facts = h('span', { class: 'facts', id: `facts-${lock}` });
    const squares = h('span', { class: 'dots', 'aria-hidden': 'true' });
    const title = h('span', { class: 'name' }, name, ...(how === '' ? [] : [h('code', {}, how)]));
    const card = h('label', { class: 'card', id: `card-${lock}` }, input, title, use, score, facts, squares);
    return { lock, idea, input, use, number, text, facts, squares, card };
  });
  place.append(...cards.map(({ card }) => card));

  /** @param {import('../model.js').DemoState} state */
  return ({ lock: used, results, bank, phase }) => {
    for (const { lock, idea, input, use, number, text, facts, squares, card } of cards) {
      const verdict = verdictOf(results[lock]);
      input.checked = lock === used;
      input.disabled = phase !== 'free';
      setText(use, lock === used ? 'in use' : phase === 'free' ? 'use' : '');
      set(card, { class: `card ${verdict.look}` });
      setText(number, verdict.number);
      setText(text, verdict.text);
      setText(facts, factsOf(results[lock]) || idea);
      keep(
        squares,
        squaresOf(bank.orders.filter((order) => order.lock === lock)),
        ({ order }) => order,
        () => h('span', { class: 'dot once' }),
        (square, { order, charges }) => {
          set(square, { class: charges > 1 ? 'dot twice' : 'dot once', title: shown(order) });
          setText(square, charges > 1 ? `${charges}×` : '');
        },
      );
    }
  };
}
