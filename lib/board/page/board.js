// Functions that show data in an element, again and again. All data becomes text nodes: nothing is
// parsed as HTML.

/** @import { BoardElection, BoardEvent, BoardLock, BoardMaster, BoardQueue, BoardReplica, BoardTone } from '../board-model.js' */

/**
 * A new element. Texts among the children stay texts.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * Makes the children of `parent` those of `items`. Children that stay keep the focus.
 * @template T
 * @param {Element} parent
 * @param {readonly T[]} items
 * @param {(item: T) => string} idOf
 * @param {(item: T) => HTMLElement} create
 * @param {(node: HTMLElement, item: T) => void} [update]
 */
export function sync(parent, items, idOf, create, update = () => {}) {
  const nodes = /** @type {HTMLElement[]} */ ([...parent.children]);
  const old = new Map(nodes.map((node) => [node.dataset['id'], node]));
  const next = items.map((item) => {
    const id = idOf(item);
    const node = old.get(id) ?? create(item);
    old.delete(id);
    node.dataset['id'] = id;
    update(node, item);
    return node;
  });
  const kept = new Set(next);
  for (const node of nodes) if (!kept.has(node)) node.remove();
  next.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}

/** Sets the text unless it is there already. @param {Element} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** For people: escapes characters that are invisible or change the direction. @param {string} text */
export function shown(text) {
  return text.replace(/(?! )[\p{C}\p{Z}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** @param {number | null} ms null: no end */
export function duration(ms) {
  if (ms === null) return 'no end';
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = ms / 1000;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 99.5) return `${Math.round(s)} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} days`;
}

/** @param {number} count */
export function bytes(count) {
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

/** @param {number} at ms since 1970 */
export function clock(at) {
  return new Date(at).toTimeString().slice(0, 8);
}

/**
 * A dot with a text.
 * @param {HTMLElement} element
 * @param {{ tone: BoardTone, text: string }} data
 */
export function renderPill(element, { tone, text }) {
  element.dataset['tone'] = tone;
  setText(element, text);
}

/**
 * The picture of the servers: each master with its replicas.
 * @param {Element} element
 * @param {readonly BoardMaster[]} masters
 */
export function renderServers(element, masters) {
  sync(
    element,
    masters,
    ({ address }) => address,
    () =>
      h('div', { class: 'shard' }, server('master'), list('replicas', 'Replicas'), list('notes', 'Notes')),
    (shard, master) => {
      updateServer(shard, master.address, masterState(master));
      sync(
        child(shard, 'replicas'),
        master.replicas,
        ({ address }) => address,
        () => h('li', {}, server('replica')),
        (item, replica) => updateServer(item, replica.address, replicaState(replica)),
      );
      const notes = [master.reason ?? '', ...master.warnings].filter((note) => note !== '');
      sync(
        child(shard, 'notes'),
        notes,
        (note) => note,
        (note) => h('li', {}, shown(note)),
      );
    },
  );
}

/** @param {Element} node @param {string} name */
const child = (node, name) => /** @type {HTMLElement} */ (node.querySelector(`.${name}`));

/** @param {string} name @param {string} label */
const list = (name, label) => h('ul', { class: name, 'aria-label': label });

/** @typedef {{ tone: BoardTone, text: string }} Shown */

/** @param {BoardMaster} master @returns {Shown} */
function masterState({ status, quarantine }) {
  if (status === 'down') return { tone: 'bad', text: 'not available' };
  if (quarantine > 0) return { tone: 'warn', text: `quarantine: no new locks for ${duration(quarantine)}` };
  return status === 'up'
    ? { tone: 'good', text: 'grants locks' }
    : { tone: 'warn', text: 'grants no new locks' };
}

/** @param {BoardReplica} replica @returns {Shown} */
function replicaState({ confirms, lag }) {
  if (lag === null) return { tone: 'bad', text: 'not connected' };
  const behind = lag > 0 ? `, ${bytes(lag)} behind` : '';
  return confirms
    ? { tone: 'good', text: `confirms${behind}` }
    : { tone: 'warn', text: `does not answer${behind}` };
}

/** @param {string} role */
function server(role) {
  const line = (/** @type {string} */ name, text = '') => h('span', { class: name }, text);
  return h('div', { class: 'server' }, line('address'), line('role', role), line('state'));
}

/** @param {HTMLElement} around @param {string} address @param {Shown} state */
function updateServer(around, address, { tone, text }) {
  around.dataset['tone'] = tone;
  setText(child(around, 'address'), shown(address));
  setText(child(around, 'state'), text);
}

/**
 * A table of locks. Each row has a button if there is a function to call.
 * @param {HTMLElement} element
 * @param {string} label
 * @param {readonly BoardLock[]} locks
 * @param {(lock: BoardLock) => void} [onRelease]
 */
export function renderLocks(element, label, locks, onRelease) {
  const heads = ['Key', 'Holder', 'Ends in', 'Fencing token', ...(onRelease ? ['Action'] : [])];
  renderTable(element, label, heads, locks, {
    idOf: ({ keys, owner }) => JSON.stringify([owner, ...keys]),
    cells: (lock) => [
      [...lock.keys.map(keyNode), ...notesOn(lock)],
      lock.isKept ? 'none' : shown(lock.owner),
      remaining(lock),
      String(lock.fencingToken),
    ],
    onCreate: (row, lock) => {
      if (onRelease === undefined) return;
      const name = `Release ${lock.keys.map(shown).join(', ')}`;
      const button = h('button', { type: 'button', 'aria-label': name }, 'Release');
      button.addEventListener('click', () => onRelease(lock));
      row.lastElementChild?.append(button);
    },
  });
}

/** @param {BoardLock} lock */
function notesOn({ moreKeys, limit, holders, isKept }) {
  const notes = [];
  if (moreKeys) notes.push(`and ${moreKeys} more`);
  if (isKept) notes.push('keeps a result, no holder');
  else if (limit !== 1) notes.push(`${holders ? `holders: ${holders}, ` : ''}limit: ${limit ?? 'none'}`);
  return notes.map((note) => h('small', {}, note));
}

/** @param {BoardLock} lock */
function remaining({ remainingTime, leaseTime }) {
  if (leaseTime === undefined || remainingTime === null) return duration(remainingTime);
  const bar = h('span', { class: 'bar' });
  bar.style.setProperty('--part', String(Math.min(1, remainingTime / leaseTime)));
  return [h('span', {}, duration(remainingTime)), bar];
}

/** @param {HTMLElement} element @param {readonly BoardQueue[]} queues */
export function renderQueues(element, queues) {
  renderTable(element, 'Waiting', ['Key', 'Callers', 'Longest wait'], queues, {
    idOf: ({ key }) => key,
    cells: ({ key, callers, longestWait }) => [keyNode(key), String(callers), duration(longestWait)],
  });
}

/** @param {HTMLElement} element @param {readonly BoardElection[]} elections */
export function renderElections(element, elections) {
  renderTable(element, 'Elections', ['Key', 'This process'], elections, {
    idOf: ({ key }) => key,
    cells: ({ key, isLeader }) => [
      keyNode(key),
      h(
        'span',
        { class: 'pill', 'data-tone': isLeader ? 'good' : 'plain' },
        isLeader ? 'leads' : 'stands by',
      ),
    ],
  });
}

/** @param {string} key */
function keyNode(key) {
  return h('bdi', { class: 'key' }, shown(key));
}

/**
 * Rows become cards on a narrow screen. The roles keep this a table for screen readers.
 * @template T
 * @param {HTMLElement} element
 * @param {string} label
 * @param {readonly string[]} heads
 * @param {readonly T[]} items
 * @param {{
 *   idOf: (item: T) => string,
 *   cells: (item: T) => readonly (string | Node | readonly Node[])[],
 *   onCreate?: (row: HTMLElement, item: T) => void,
 * }} rows
 */
function renderTable(element, label, heads, items, { idOf, cells, onCreate }) {
  if (element.dataset['heads'] !== heads.join()) {
    element.dataset['heads'] = heads.join();
    const columns = heads.map((head) => h('th', { scope: 'col', role: 'columnheader' }, head));
    const head = h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, ...columns));
    element.replaceChildren(
      h(
        'table',
        { role: 'table', 'aria-label': label },
        head,
        h('tbody', { role: 'rowgroup', class: 'rows' }),
      ),
    );
  }
  const cell = (/** @type {string} */ head) => h('td', { role: 'cell', 'data-head': head });
  sync(
    child(element, 'rows'),
    items,
    idOf,
    (item) => {
      const row = h('tr', { role: 'row' }, ...heads.map(cell));
      onCreate?.(row, item);
      return row;
    },
    (row, item) =>
      cells(item).forEach((content, index) => {
        const fresh = h('td', {}, ...[content].flat());
        const place = row.children[index];
        // Text that is the same stays, so that it can be selected.
        if (place?.textContent !== fresh.textContent) place?.replaceChildren(...fresh.childNodes);
      }),
  );
}

/**
 * The log of events, the newest first.
 * @param {Element} element an `ol`
 * @param {readonly BoardEvent[]} events the oldest first
 */
export function renderEvents(element, events) {
  sync(
    element,
    events.toReversed(),
    ({ id }) => String(id),
    ({ at, tone, what, keys, text }) =>
      h(
        'li',
        { 'data-tone': tone },
        h('time', { datetime: new Date(at).toISOString() }, clock(at)),
        h('strong', {}, what),
        h('span', {}, ...keys.flatMap((key) => [keyNode(key), ' ']), shown(text)),
      ),
  );
}
