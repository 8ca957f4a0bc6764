// The page: shows the state of one process, and asks for locks when told to.

import {
  clock,
  renderElections,
  renderEvents,
  renderLocks,
  renderPill,
  renderQueues,
  renderServers,
  setText,
  shown,
} from './board.js';

/** @import { BoardEvent, BoardLock, BoardLocks, BoardRelease, BoardState, Some } from '../board-model.js' */

/** Rows of the log of events. */
const MOST_EVENTS = 100;
/** Rows of the table of locks. */
const MOST_LOCKS = 1000;
/** Pages that one click asks for. */
const MOST_PAGES = 20;
/** ms until the page connects again. */
const RETRY = 3000;

/** @param {string} id */
const the = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** Beside this script, whatever prefix the application has. */
const api = (/** @type {string} */ path) => new URL(`api/${path}`, import.meta.url);

/** @type {BoardState | undefined} */
let state;

// --- the state and the events of the process

function connect() {
  const source = new EventSource(api('events'));
  source.addEventListener('state', ({ data }) => show(JSON.parse(data)));
  source.addEventListener('news', ({ data }) => add(JSON.parse(data)));
  source.addEventListener('open', () => renderPill(the('status'), { tone: 'good', text: 'live' }));
  source.addEventListener('error', () => {
    renderPill(the('status'), { tone: 'bad', text: 'not connected, trying again' });
    // The browser tries again by itself, but not if the server refused.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY);
  });
}

/** @param {BoardState} next */
function show(next) {
  // Ids of events count for one process, and another may answer now.
  if (state !== undefined && state.process !== next.process) log = [];
  state = next;
  const { instance, process, status, lost, masters, held, waiting, elections } = next;
  setText(the('process'), shown(instance === undefined ? process : `${instance}, ${process}`));
  setText(the('lost'), lost === 0 ? 'no lock lost' : `locks lost: ${lost}`);
  renderPill(the('health'), HEALTH[status]);
  renderServers(the('servers'), masters);
  the('no-servers').hidden = masters.length > 0;
  part('held', 'Held locks', held);
  renderLocks(the('held'), 'Held locks', held.first, onRelease());
  part('waiting', 'Waiting callers', waiting);
  renderQueues(the('waiting'), waiting.first);
  part('elections', 'Elections', elections);
  renderElections(the('elections'), elections.first);
}

const HEALTH = /** @type {const} */ ({
  up: { tone: 'good', text: 'locks are granted' },
  degraded: { tone: 'warn', text: 'new locks are refused for now' },
  down: { tone: 'bad', text: 'Redis cannot be used' },
});

/**
 * The heading of a table, with the number of entries. A table without entries is hidden.
 * @param {string} id
 * @param {string} title
 * @param {Some<unknown>} some
 */
function part(id, title, { total, first }) {
  const rest = total > first.length ? `, the first ${first.length} are listed` : '';
  setText(the(`${id}-title`), `${title}: ${total}${rest}`);
  the(id).hidden = total === 0;
}

/** @type {BoardEvent[]} */
let log = [];
let isPaused = false;

/** @param {BoardEvent[]} events */
function add(events) {
  const last = log.at(-1)?.id ?? 0;
  log.push(...events.filter(({ id }) => id > last));
  log = log.slice(-MOST_EVENTS);
  the('no-events').hidden = log.length > 0;
  if (!isPaused) renderEvents(the('events'), log);
}

the('pause').addEventListener('click', () => {
  isPaused = !isPaused;
  the('pause').setAttribute('aria-pressed', String(isPaused));
  setText(the('pause'), isPaused ? 'Go on' : 'Pause');
  if (!isPaused) renderEvents(the('events'), log);
});

// --- the locks of all processes

/**
 * The locks that were found, and the address of the rest; undefined if there is no rest.
 * @type {{ locks: BoardLock[], rest: string | undefined } | undefined}
 */
let search;
const input = /** @type {HTMLInputElement} */ (the('match'));
the('search').addEventListener('submit', (event) => {
  event.preventDefault();
  begin(input.value);
});
the('list').addEventListener('click', () => begin((input.value = '')));
the('more').addEventListener('click', () => void goOn());

/** @param {string} text */
function begin(text) {
  const query = encodeURIComponent(text);
  // A key is one question to one server. A pattern is compared with all keys.
  const isPattern = text === '' || /[*?[\\]/.test(text);
  const rest = text === '' ? 'locks?' : isPattern ? `locks?match=${query}` : `lock?key=${query}`;
  search = { locks: [], rest };
  void goOn();
}

/** Asks until some locks were found, but for a bounded number of pages. */
async function goOn() {
  const asked = search;
  if (asked === undefined) return;
  setText(the('found'), 'Asking Redis …');
  the('more').hidden = true;
  const enough = asked.locks.length + 50;
  try {
    for (let page = 0; page < MOST_PAGES && asked.rest && asked.locks.length < enough; page++) {
      /** @type {BoardLocks} */
      const { locks, cursor } = await answerOf(await fetch(api(asked.rest)));
      if (asked !== search) return;
      // A walk over the keys may meet a key twice.
      const found = [...asked.locks, ...locks].map((lock) => [lock.owner + lock.keys, lock]);
      asked.locks = Object.values(Object.fromEntries(found));
      const [before] = asked.rest.split('&cursor=');
      asked.rest = cursor && `${before}&cursor=${encodeURIComponent(cursor)}`;
    }
    showFound(asked.locks, asked.rest !== undefined);
  } catch (/** @type {any} */ error) {
    if (asked === search) setText(the('found'), `Not answered: ${error.message}`);
  }
}

/** @param {readonly BoardLock[]} locks @param {boolean} isMore */
function showFound(locks, isMore) {
  const isFull = locks.length >= MOST_LOCKS;
  const end = isFull ? '. Narrow the pattern to see others.' : isMore ? ' so far. There are more keys.' : '.';
  setText(the('found'), `As of ${clock(Date.now())}: ${locks.length || 'no'} locks${end}`);
  the('more').hidden = !isMore || isFull;
  the('locks').hidden = locks.length === 0;
  const sorted = locks.toSorted((a, b) => (String(a.keys) < String(b.keys) ? -1 : 1));
  renderLocks(the('locks'), 'Locks of all processes', sorted, onRelease());
}

/** @param {Response} response */
async function answerOf(response) {
  const body = await response.json().catch(() => undefined);
  if (response.ok && body !== undefined) return body;
  throw new Error(body?.message ?? `the answer was ${response.status}`);
}

// --- taking a key away

const dialog = /** @type {HTMLDialogElement} */ (the('dialog'));
const typed = /** @type {HTMLInputElement} */ (the('confirmation'));
const confirm = /** @type {HTMLButtonElement} */ (the('confirm'));
/** @type {BoardLock | undefined} */
let chosen;

const onRelease = () => (state?.allowForceRelease ? openDialog : undefined);

/** @param {BoardLock} lock */
function openDialog(lock) {
  chosen = lock;
  const key = shown(lock.keys[0] ?? '');
  setText(the('key'), key);
  setText(
    the('question'),
    lock.isKept
      ? 'The kept result is removed: the work runs again for the next caller.'
      : `${shown(lock.owner)} loses the key and is told so. It may still be in the middle of its work.`,
  );
  setText(the('refusal'), '');
  typed.value = '';
  confirm.disabled = true;
  dialog.showModal();
}

const isTyped = () => [chosen?.keys[0], the('key').textContent].includes(typed.value);
typed.addEventListener('input', () => (confirm.disabled = !isTyped()));
the('cancel').addEventListener('click', () => dialog.close());
the('release').addEventListener('submit', (event) => {
  event.preventDefault();
  if (chosen !== undefined && isTyped()) void release(chosen);
});

/** @param {BoardLock} lock */
async function release({ keys: [key = ''], owner, isKept }) {
  /** @type {BoardRelease} */
  const body = { key, confirmation: key, ...(isKept ? {} : { owner }) };
  confirm.disabled = true;
  try {
    const headers = { 'content-type': 'application/json', 'x-replica-lock-board': 'release' };
    await answerOf(await fetch(api('release'), { method: 'POST', headers, body: JSON.stringify(body) }));
    dialog.close();
    if (search === undefined) return;
    search.locks = search.locks.filter((lock) => lock.owner !== owner || lock.keys[0] !== key);
    showFound(search.locks, search.rest !== undefined);
  } catch (/** @type {any} */ error) {
    setText(the('refusal'), `Not released: ${error.message}`);
    confirm.disabled = false;
  }
}

connect();
