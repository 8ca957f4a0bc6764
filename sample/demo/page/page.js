// Follows the demonstration, draws what it says, and sends what the buttons ask for.

import { setText } from './board.js';
import { byId, seconds, set } from './dom.js';
import { chargesIn, eventsIn, locksIn } from './lists.js';
import { pictureIn } from './picture.js';
import { roleOf } from './server-words.js';
import { verdictIn } from './verdict.js';

/** @typedef {import('../model.js').DemoState} DemoState */
/** @typedef {import('../model.js').DemoEvent} DemoEvent */
/** @typedef {import('./picture.js').PictureView} PictureView */

const PAYMENTS = 20;

/** @type {DemoState | undefined} */
let state;
/** True while an action runs: a second click does nothing. */
let isActing = false;
let isConnected = false;

const drawPicture = pictureIn(byId('picture'));
const drawVerdict = verdictIn(byId('verdict'), (lock) => {
  void act('useLock', { lock });
});
const drawLocks = locksIn(byId('locks'));
const drawCharges = chargesIn(byId('charges'), byId('charges-title'), byId('charges-summary'));
const answer = byId('answer');
const connection = byId('connection');

/**
 * The buttons. Each says what it would do now, and what is sent then. Undefined: not possible now.
 * @type {Record<string, (state: DemoState) => { text: string, send: [action: string, argument?: object] | undefined }>}
 */
const BUTTONS = {
  pay: () => ({ text: `Send ${PAYMENTS} payments`, send: ['pay', { count: PAYMENTS }] }),
  kill: ({ servers }) => {
    const hasMaster = servers.some(isMaster);
    const dead = servers.find(({ condition }) => condition === 'dead');
    return dead === undefined
      ? { text: 'Kill the master', send: hasMaster ? ['killMaster', { lagging: true }] : undefined }
      : { text: `Start ${dead.name} again`, send: hasMaster ? ['startAgain'] : undefined };
  },
  stop: ({ servers }) => {
    const stopped = servers.find(({ condition }) => condition === 'stopped');
    return stopped === undefined
      ? { text: 'Stop a replica', send: servers.some(isRunningReplica) ? ['stopReplica'] : undefined }
      : { text: `Let ${stopped.name} go on`, send: ['continueReplica'] };
  },
  cut: ({ servers }) => {
    const cut = servers.find(({ condition }) => condition === 'cut-off');
    return cut === undefined
      ? { text: 'Cut a replica off', send: servers.some(isRunningReplica) ? ['cutOff'] : undefined }
      : { text: `Let ${cut.name} back`, send: ['reconnect'] };
  },
};

/** @param {import('../model.js').ServerState} server */
function isMaster({ role, condition }) {
  return role === 'master' && condition !== 'dead';
}

/** @param {import('../model.js').ServerState} server */
function isRunningReplica({ role, condition }) {
  return role === 'replica' && condition === 'running';
}

/** @param {DemoState} now */
function buttons(now) {
  for (const [id, next] of Object.entries(BUTTONS)) {
    const { text, send } = next(now);
    const button = byId(id);
    setText(button, text);
    // Not `disabled`, which would take the focus away from a button that waits for its answer.
    set(button, {
      'aria-disabled':
        now.phase !== 'free' || !isConnected || isActing || send === undefined ? 'true' : undefined,
    });
  }
}

for (const id of Object.keys(BUTTONS))
  byId(id).addEventListener('click', () => {
    if (state === undefined || byId(id).hasAttribute('aria-disabled')) return;
    const { send } = /** @type {typeof BUTTONS[string]} */ (BUTTONS[id])(state);
    if (send !== undefined) void act(...send);
  });

/**
 * @param {string} action
 * @param {object} [argument]
 */
async function act(action, argument = {}) {
  isActing = true;
  draw();
  try {
    const response = await fetch(`actions/${action}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(argument),
    });
    const { message } = response.ok ? { message: '' } : await response.json();
    tell(message, !response.ok);
  } catch {
    tell('The demonstration does not answer', true);
  }
  isActing = false;
  draw();
}

/**
 * @param {string} text
 * @param {boolean} isRefusal
 */
function tell(text, isRefusal) {
  set(answer, { class: isRefusal ? 'answer refused' : 'answer' });
  setText(answer, text);
}

/**
 * What the picture shows of a state. Only the replica lock asks how old the links are.
 * @param {DemoState} now
 * @returns {PictureView}
 */
function viewOf({ servers, shops, sentinels, lock, quarantine, quarantineLength }) {
  const master = servers.find(isMaster);
  // A shop still asks the server that was the master until another one is.
  const asked = master ?? servers.find(({ condition }) => condition === 'dead');
  const asksReplicas = lock === 'replica';
  return {
    servers: servers.map(({ name, role, condition, offset, behind, linkAge }) => ({
      name,
      role,
      condition: condition === 'dead' ? 'killed' : condition === 'cut-off' ? 'cut off' : condition,
      offset,
      ...(linkAge !== undefined && master !== undefined && { linkAge, follows: master.name }),
      ...(behind !== undefined && { lag: behind }),
      quarantine: asksReplicas ? quarantineLength : 0,
      heldBackFor: asksReplicas ? quarantine : 0,
    })),
    shops: shops.map(({ name, condition, status, reason, held, waiting }) => ({
      name,
      doing: condition === 'stopped' ? 'stopped' : `${held} held, ${waiting} waiting`,
      isUp: condition === 'running' && (status === 'up' || !asksReplicas),
      ...(asksReplicas && reason !== undefined && { reason }),
      ...(asked !== undefined && condition === 'running' && { uses: asked.name }),
    })),
    sentinels: sentinels.map(({ name, master: named, seesMasterDown }) => ({
      name,
      says: seesMasterDown ? 'master is down' : named === undefined ? 'no answer' : `master: ${named}`,
      isUp: named !== undefined && !seesMasterDown,
    })),
  };
}

/**
 * The servers in one sentence.
 * @param {DemoState} now
 * @param {PictureView} view
 */
function summaryOf({ quarantine, lock, phase, title }, view) {
  if (phase !== 'free') return title;
  const master = view.servers.find((server) => roleOf(server) === 'master');
  if (master === undefined) return 'No master: the Sentinels have to promote a replica';
  if (quarantine > 0 && lock === 'replica')
    return `${master.name} is the master; no new lock for ${seconds(quarantine)}, until earlier leases have ended`;
  return `${master.name} is the master`;
}

function draw() {
  if (state === undefined) return;
  const view = viewOf(state);
  setText(byId('servers-summary'), summaryOf(state, view));
  drawPicture(view);
  drawVerdict(state);
  drawLocks(state);
  drawCharges(state);
  buttons(state);
}

new ResizeObserver(draw).observe(byId('picture'));

/** @type {Record<DemoState['phase'], string>} */
const PHASES = {
  starting: 'live: starting',
  rounds: 'live: the rounds run',
  free: 'live: it is your turn',
  ending: 'ending',
};

/** Beside the buttons. @type {Partial<Record<DemoState['phase'], string>>} */
const HINTS = { rounds: 'The buttons work after the rounds, with npm run demo -- --keep' };

const events = byId('events');
const addEvents = eventsIn(events);
/** @type {DemoEvent[]} */
let happened = [];

/** Adds what has happened. Many events at once are one change of the list. */
function addHappened() {
  addEvents(happened);
  happened = [];
}

const stream = new EventSource('events');
stream.addEventListener('open', () => {
  // Each connection tells everything from the start on. A screen reader says only what is new then.
  set(events, { 'aria-live': 'off' });
  setTimeout(() => set(events, { 'aria-live': 'polite' }), 500);
  events.replaceChildren();
  happened = [];
});
stream.addEventListener('happened', ({ data }) => {
  if (happened.length === 0) setTimeout(addHappened, 50);
  happened.push(JSON.parse(data));
});
stream.addEventListener('state', ({ data }) => {
  const now = /** @type {DemoState} */ (JSON.parse(data));
  if (now.phase !== state?.phase) tell(HINTS[now.phase] ?? '', false);
  state = now;
  isConnected = true;
  set(connection, { class: 'connection live' });
  setText(connection, PHASES[now.phase]);
  draw();
});
stream.addEventListener('error', () => {
  isConnected = false;
  set(connection, { class: 'connection gone' });
  setText(connection, 'the demonstration has ended');
  draw();
});
