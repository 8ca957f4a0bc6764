import type { FailOverFacts, RoundFacts } from './facts.js';
import { seconds } from './time-line.js';

/*
 * The picture of a run, for the README: both fail-overs on one time axis, as an SVG for light and
 * dark pages.
 */

const WIDTH = 880;
const LEFT = 100;
const RIGHT = 20;
const LANE = 24;
const BAR = 18;
const BASELINE = 13;
/** The least width of a bar, to the left of its end. */
const MARK_WIDTH = 7;
const PANEL_HEAD = 34;
const PANEL_GAP = 20;
/** Where the figures of a panel begin, behind its title. */
const FIGURES = 240;
/** ms of the axis behind the last moment, for the words there. */
const ROOM = 4_400;

const STYLE = `
svg{font-family:ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;font-size:12px;
--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--master:#0969da;--on-master:#fff;--replica:#b6d7f7;--on-replica:#0a3069;
--off:#d8dee4;--on-off:#424a53;--held:#1a7f37;--on-held:#fff;--bad:#cf222e;--on-bad:#fff;--wait:#f5e0a8;--on-wait:#633c01}
@media(prefers-color-scheme:dark){svg{--ink:#f0f6fc;--soft:#9198a1;--line:#3d444d;--master:#4493f8;--on-master:#0d1117;
--replica:#1f4a80;--on-replica:#cfe6ff;--off:#32383f;--on-off:#b7bfc8;--held:#3fb950;--on-held:#04260f;--bad:#f85149;
--on-bad:#2d0204;--wait:#5c4400;--on-wait:#f8e3a1}}
.head{font-size:15px;font-weight:600;fill:var(--ink)}.name,.tick{fill:var(--soft)}.bad{fill:var(--bad)}.good{fill:var(--held)}
.strong{font-weight:600}.grid{stroke:var(--line)}.kill{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:4 3}`;

type Look = 'master' | 'replica' | 'off' | 'held' | 'bad' | 'wait';

interface Bar {
  readonly from: number;
  readonly to: number;
  readonly look: Look;
  readonly text?: string;
}

/** Text at the right of an instant, on the page. */
interface Note {
  readonly at: number;
  readonly text: string;
  readonly tone: 'bad' | 'good';
}

interface Lane {
  readonly name: string;
  readonly bars: readonly Bar[];
  readonly notes?: readonly Note[];
}

/** The SVG of the rounds with a fail-over. Undefined without them. */
export function recordingOf(rounds: readonly RoundFacts[]): string | undefined {
  const usual = rounds.find(({ lock }) => lock === 'usual')?.failOver;
  const replica = rounds.find(({ lock }) => lock === 'replica')?.failOver;
  if (usual === undefined || replica === undefined) return undefined;
  const start = -Math.max(...[usual, replica].map((facts) => before(facts, facts.moments.keptAt))) - 500;
  const last = Math.max(...[usual, replica].map(lastMoment));
  const end = last + ROOM;
  const x = (at: number): number => LEFT + ((at - start) / (end - start)) * (WIDTH - LEFT - RIGHT);
  const panels = [
    { title: 'SET NX PX, the usual lock', facts: usual, lanes: usualLanes(usual, start, last) },
    { title: 'nestjs-replica-lock', facts: replica, lanes: replicaLanes(replica, start, last) },
  ];
  const ticks: number[] = [];
  for (let tick = Math.ceil(start / 2_000) * 2_000; tick < end; tick += 2_000) ticks.push(tick);
  const parts: string[] = [];
  let y = 0;
  for (const { title, facts, lanes } of panels) {
    const top = y + PANEL_HEAD;
    y = top + lanes.length * LANE;
    parts.push(
      ...ticks.map((tick) => `<path class="grid" d="M${round(x(tick))} ${top - 4}V${y}"/>`),
      `<path class="kill" d="M${round(x(0))} ${top - 4}V${y}"/>`,
      drawTitle(title, facts, top - 14),
      ...lanes.map((lane, i) => drawLane(lane, top + i * LANE, x)),
    );
    y += PANEL_GAP;
  }
  y += 14 - PANEL_GAP;
  for (const tick of ticks)
    parts.push(
      text(x(tick), y, tick === 0 ? 'kill -9' : `${tick > 0 ? '+' : ''}${tick / 1_000} s`, 'tick', 'middle'),
    );
  const height = y + 8;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escape(altText(usual, replica))}">`,
    `<style>${STYLE}</style>`,
    HATCH,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

function drawTitle(title: string, { doubles, gap, held, wentOn }: FailOverFacts, y: number): string {
  const tone = doubles === 0 ? 'good' : 'bad';
  const verdict = doubles === 0 ? 'no order charged twice' : `${doubles} orders charged twice`;
  const figures = `${wentOn} of ${held} held locks go on, ${seconds(gap)} s without new locks`;
  return [
    text(0, y, title, 'head'),
    text(FIGURES, y, figures, 'name'),
    text(WIDTH - RIGHT, y, verdict, `head ${tone}`, 'end'),
  ].join('');
}

/** What the picture shows, in a sentence for each lock. */
export function altText(usual: FailOverFacts, replica: FailOverFacts): string {
  return (
    'Two time lines of a Redis master that is killed while its replicas lag behind. ' +
    `With SET NX PX the promoted replica grants the same locks again, and ${usual.doubles} orders are charged twice. ` +
    `With nestjs-replica-lock ${replica.doubles} orders are charged twice: unconfirmed locks are refused, ` +
    `${replica.wentOn} of ${replica.held} held locks go on, and new locks wait ${seconds(replica.gap)} s.`
  );
}

function usualLanes(facts: FailOverFacts, start: number, end: number): readonly Lane[] {
  const { moments, held, doubles } = facts;
  const at = (instant: number): number => -before(facts, instant);
  return [
    ...serverLanes(facts, start, end),
    {
      name: 'shop-1',
      bars: [
        { from: at(moments.askedAt), to: at(moments.endedAt), look: 'held', text: `holds ${held} locks` },
      ],
      notes: [{ at: at(moments.endedAt), text: `and charges the same ${doubles} orders`, tone: 'bad' }],
    },
    {
      name: 'shop-2',
      bars: [{ from: at(moments.againAt), to: at(moments.againAt), look: 'bad' }],
      notes: [
        { at: at(moments.againAt), text: `is granted ${doubles} of them again, and charges`, tone: 'bad' },
      ],
    },
  ];
}

function replicaLanes(facts: FailOverFacts, start: number, end: number): readonly Lane[] {
  const { moments, held } = facts;
  const at = (instant: number): number => -before(facts, instant);
  const frozenAt = moments.frozenAt === undefined ? at(moments.endedAt) : at(moments.frozenAt);
  const thawedAt = moments.thawedAt === undefined ? frozenAt : at(moments.thawedAt);
  return [
    ...serverLanes(facts, start, end),
    {
      name: 'shop-1, held',
      bars: [
        { from: at(moments.keptAt), to: frozenAt, look: 'held', text: `${held} locks, renewed` },
        { from: frozenAt, to: thawedAt, look: 'off', text: 'frozen: its lease ends' },
      ],
      notes: [{ at: thawedAt, text: 'late charge refused', tone: 'good' }],
    },
    {
      name: 'shop-1, new',
      bars: [{ from: at(moments.askedAt), to: 0, look: 'wait', text: '503' }],
      notes: [{ at: 0, text: 'no replica confirms these locks: nothing is charged', tone: 'good' }],
    },
    {
      name: 'shop-2, new',
      bars: [
        { from: 0, to: at(moments.promotedAt), look: 'wait', text: '503: no master' },
        {
          from: at(moments.promotedAt),
          to: at(moments.againAt),
          look: 'wait',
          text: '503: quarantine, the links to the new master are young',
        },
      ],
      notes: [{ at: at(moments.againAt), text: 'charges the orders once', tone: 'good' }],
    },
  ];
}

/** The killed server, the promoted one and the third. */
function serverLanes(facts: FailOverFacts, start: number, end: number): readonly Lane[] {
  const { moments } = facts;
  const at = (instant: number): number => -before(facts, instant);
  const stopped: Bar = { from: at(moments.stoppedAt), to: 0, look: 'off', text: 'lags' };
  const replica: Bar = { from: start, to: at(moments.stoppedAt), look: 'replica' };
  const third = ['redis-1', 'redis-2', 'redis-3'].find(
    (name) => name !== moments.dead && name !== moments.promoted,
  );
  return [
    {
      name: moments.dead,
      bars: [
        { from: start, to: 0, look: 'master', text: 'master' },
        { from: at(moments.startedAgainAt), to: end, look: 'replica', text: 'replica, started again' },
      ],
    },
    {
      name: moments.promoted,
      bars: [
        replica,
        stopped,
        { from: 0, to: at(moments.promotedAt), look: 'replica', text: 'replica' },
        {
          from: at(moments.promotedAt),
          to: end,
          look: 'master',
          text: 'promoted: master without the last writes',
        },
      ],
    },
    { name: third ?? '', bars: [replica, stopped, { from: 0, to: end, look: 'replica', text: 'replica' }] },
  ];
}

/** ms from the instant to the kill. */
function before({ moments }: FailOverFacts, instant: number): number {
  return moments.killedAt - instant;
}

function lastMoment(facts: FailOverFacts): number {
  const { againAt, endedAt, thawedAt = 0 } = facts.moments;
  return -before(facts, Math.max(againAt, endedAt, thawedAt));
}

const HATCH =
  '<defs><pattern id="h" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">' +
  '<rect width="2" height="6" fill="var(--soft)" opacity=".35"/></pattern></defs>';

function drawLane({ name, bars, notes = [] }: Lane, y: number, x: (at: number) => number): string {
  const middle = y + BASELINE;
  return [
    text(LEFT - 10, middle, name, 'name', 'end'),
    ...bars.map((bar) => drawBar(bar, y, x)),
    ...notes.map(({ at, text: words, tone }) => text(x(at) + 6, middle, words, `${tone} strong`)),
  ].join('');
}

function drawBar({ from, to, look, text: words = '' }: Bar, y: number, x: (at: number) => number): string {
  const right = x(to) - 1;
  const left = Math.min(x(from), right - MARK_WIDTH);
  const box = `x="${round(left)}" y="${y}" width="${round(right - left)}" height="${BAR}" rx="3"`;
  const hatch = look === 'off' || look === 'wait' ? `<rect ${box} fill="url(#h)"/>` : '';
  // Words stand behind the kill if the bar does. 6.2 px for a character is more than most need.
  const start = from < 0 && to > 0 ? x(0) : left;
  const fits = words.length * 6.2 + 8 < right - start;
  const label = fits ? text(start + 6, y + BASELINE, words, '', 'start', `fill="var(--on-${look})"`) : '';
  return `<rect ${box} fill="var(--${look})"/>${hatch}${label}`;
}

function text(
  x: number,
  y: number,
  words: string,
  style: string,
  anchor: 'start' | 'middle' | 'end' = 'start',
  more = '',
): string {
  const attributes = [
    `x="${round(x)}" y="${round(y)}"`,
    style === '' ? '' : `class="${style}"`,
    anchor === 'start' ? '' : `text-anchor="${anchor}"`,
    more,
  ];
  return `<text ${attributes.filter(Boolean).join(' ')}>${escape(words)}</text>`;
}

function round(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escape(words: string): string {
  return words.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
