// The servers, drawn: shops above, Redis in the middle, Sentinels below. Every server keeps its
// place, and only its role and its links change.

import { h, setText } from './board.js';
import { keep, set, svg } from './dom.js';
import { inWords, lagOf, noteOf, positionOf, roleOf, shareOf } from './server-words.js';

/** @typedef {import('./server-words.js').ServerView} ServerView */
/** @typedef {{ name: string, doing: string, isUp: boolean, reason?: string, uses?: string }} ShopView `uses` names its master */
/** @typedef {{ name: string, says: string, isUp: boolean }} SentinelView */
/** @typedef {{ servers: readonly ServerView[], shops: readonly ShopView[], sentinels: readonly SentinelView[] }} PictureView */

/** The picture has as many units as the page has pixels, so that text keeps its size on a phone. */
const NARROW = 540;
const RING = 7;
const ROUND = 2 * Math.PI * RING;

/**
 * Where everything stands, for a width in pixels.
 * @param {number} width
 * @param {number} servers
 */
export function layoutOf(width, servers) {
  const isNarrow = width < NARROW;
  const gap = isNarrow ? 7 : 28;
  const boxWidth = Math.min(210, (width - gap * (servers - 1)) / servers);
  const boxHeight = isNarrow ? 122 : 100;
  const step = servers > 1 ? (width - boxWidth) / (servers - 1) : 0;
  const shopWidth = Math.min(230, (width - 12) / 2);
  const top = 112;
  return {
    isNarrow,
    isTiny: boxWidth < 112,
    height: top + boxHeight + 112,
    shop: (/** @type {number} */ i, /** @type {number} */ count) => ({
      x: (width * (i + 0.5)) / count - shopWidth / 2,
      y: 1,
      width: shopWidth,
      height: 48,
    }),
    server: (/** @type {number} */ i) => ({
      x: 1 + i * step,
      y: top,
      width: boxWidth - 2,
      height: boxHeight,
    }),
    sentinel: (/** @type {number} */ i, /** @type {number} */ count) => ({
      x: (width * (i + 0.5)) / count,
      y: top + boxHeight + 82,
    }),
  };
}

/** Draws into `place`. The result draws a state; each drawing keeps the elements of the last. @param {Element} place */
export function pictureIn(place) {
  const links = svg('g');
  const shops = svg('g');
  const servers = svg('g');
  const sentinels = svg('g');
  const root = svg('svg', { 'aria-hidden': 'true' }, links, shops, servers, sentinels);
  const words = h('ul', { class: 'unseen' });
  place.replaceChildren(root, words);

  /** @param {PictureView} view */
  return (view) => {
    const width = Math.max(280, Math.floor(place.clientWidth));
    const layout = layoutOf(width, view.servers.length);
    set(root, { viewBox: `0 0 ${width} ${layout.height}`, height: layout.height });

    const centre = new Map(
      view.servers.map((server, i) => {
        const box = layout.server(i);
        return [server.name, { x: box.x + box.width / 2, top: box.y, bottom: box.y + box.height }];
      }),
    );
    keep(
      links,
      linksOf(view, layout, centre),
      (link) => link.key,
      () => svg('path'),
      (path, link) => set(path, { class: `link ${link.look}`, d: link.path }),
    );
    keep(
      shops,
      view.shops.map((shop, i) => ({ shop, box: layout.shop(i, view.shops.length) })),
      ({ shop }) => shop.name,
      createShop,
      updateShop,
    );
    keep(
      servers,
      view.servers.map((server, i) => ({ server, box: layout.server(i), layout })),
      ({ server }) => server.name,
      createServer,
      updateServer,
    );
    keep(
      sentinels,
      view.sentinels.map((sentinel, i) => ({ sentinel, at: layout.sentinel(i, view.sentinels.length) })),
      ({ sentinel }) => sentinel.name,
      createSentinel,
      updateSentinel,
    );
    keep(
      words,
      [...view.servers.map(inWords), ...view.shops.map(shopInWords)],
      (sentence) => sentence.split(':')[0] ?? '',
      () => h('li'),
      setText,
    );
  };
}

/**
 * @param {PictureView} view
 * @param {ReturnType<typeof layoutOf>} layout
 * @param {Map<string, { x: number, top: number, bottom: number }>} centre
 */
function linksOf(view, layout, centre) {
  const links = [];
  view.shops.forEach((shop, i) => {
    const box = layout.shop(i, view.shops.length);
    const from = { x: box.x + box.width / 2, y: box.y + box.height };
    const to = shop.uses === undefined ? undefined : centre.get(shop.uses);
    const end = to ?? { x: from.x, top: from.y };
    const bend = (end.top - from.y) * 0.55;
    const isDead = view.servers.some(({ name, condition }) => name === shop.uses && condition === 'killed');
    links.push({
      key: `shop ${shop.name}`,
      look: to === undefined ? 'client none' : isDead ? 'dead' : 'client',
      path: `M${from.x} ${from.y}C${from.x} ${from.y + bend} ${end.x} ${end.top - bend} ${end.x} ${end.top}`,
    });
  });
  const master = view.servers.find((server) => server.role === 'master' && server.condition === 'running');
  for (const server of view.servers) {
    const followed = server.follows ?? (server.condition === 'cut off' ? master?.name : undefined);
    const from = followed === undefined ? undefined : centre.get(followed);
    const to = centre.get(server.name);
    if (from === undefined || to === undefined || followed === server.name) continue;
    const isFar = Math.abs(from.x - to.x) > 1.5 * Math.abs(layout.server(1).x - layout.server(0).x);
    const depth = isFar ? 62 : 40;
    // Links of one master leave it side by side.
    const start = from.x + Math.sign(to.x - from.x) * 14;
    links.push({
      key: `replica ${server.name}`,
      look: server.condition === 'running' ? `flows${(shareOf(server) ?? 1) < 1 ? ' young' : ''}` : 'broken',
      path: `M${start} ${from.bottom}C${start} ${from.bottom + depth} ${to.x} ${to.bottom + depth} ${to.x} ${to.bottom}`,
    });
  }
  return links;
}

/** @param {ShopView} shop */
function shopInWords({ name, doing, reason }) {
  return `${name}: ${doing}${reason === undefined ? '' : `, ${reason}`}`;
}

/** @typedef {{ x: number, y: number, width: number, height: number }} Box */
/** @typedef {[Element, Element, Element, Element, Element, Element, Element, Element, Element]} ServerParts */

function createShop() {
  return svg(
    'g',
    {},
    svg('rect', { class: 'box', rx: 10 }),
    svg('text', { class: 'strong', 'text-anchor': 'middle' }),
    svg('text', { class: 'small', 'text-anchor': 'middle' }),
  );
}

/** @param {Element} element @param {{ shop: ShopView, box: Box }} item */
function updateShop(element, { shop, box }) {
  const [rect, name, doing] = /** @type {[Element, Element, Element]} */ ([...element.children]);
  set(element, { class: `shop${shop.isUp ? '' : ' down'}` });
  set(rect, { ...box });
  const x = box.x + box.width / 2;
  setText(set(name, { x, y: box.y + 20 }), shop.name);
  setText(set(doing, { x, y: box.y + 37 }), shop.doing);
}

function createServer() {
  return svg(
    'g',
    {},
    svg('rect', { class: 'box', rx: 12 }),
    svg('rect', { class: 'badge', rx: 9, height: 18 }),
    svg('text', { class: 'role', 'text-anchor': 'middle' }),
    svg('text', { class: 'name strong' }),
    svg('text', { class: 'small' }),
    svg('text', { class: 'small' }),
    svg('text', { class: 'small' }),
    svg('circle', { class: 'ring-back', r: RING }),
    svg('circle', { class: 'ring', r: RING }),
  );
}

/** @param {Element} element @param {{ server: ServerView, box: Box, layout: { isNarrow: boolean, isTiny: boolean } }} item */
function updateServer(element, { server, box, layout: { isNarrow, isTiny } }) {
  const [rect, badge, role, name, position, lag, note, ...rings] = /** @type {ServerParts} */ ([
    ...element.children,
  ]);
  const word = roleOf(server);
  set(element, { class: `server ${word.replace(' off', '')}` });
  set(rect, { ...box });
  const left = box.x + (isNarrow ? 9 : 14);
  const bottom = box.y + box.height;
  const width = word.length * 7.2 + 16;
  // A phone has no room for the role beside the name.
  const at = isNarrow ? { x: left, y: box.y + 31 } : { x: box.x + box.width - width - 11, y: box.y + 12 };
  set(badge, { ...at, width });
  setText(set(role, { x: at.x + width / 2, y: at.y + 13 }), word);
  setText(set(name, { x: left, y: box.y + (isNarrow ? 21 : 26) }), server.name);
  const behind = lagOf(server, isTiny);
  setText(set(position, { x: left, y: bottom - (behind === '' ? 30 : 47) }), positionOf(server, isTiny));
  setText(set(lag, { x: left, y: bottom - 30 }), behind);
  const share = shareOf(server);
  const ring = { cx: left + RING, cy: bottom - 17, visibility: share === undefined ? 'hidden' : undefined };
  for (const circle of rings) set(circle, ring);
  set(rings[1], {
    class: share === 1 ? 'ring full' : 'ring',
    transform: `rotate(-90 ${ring.cx} ${ring.cy})`,
    'stroke-dasharray': `${((share ?? 0) * ROUND).toFixed(1)} ${ROUND.toFixed(1)}`,
  });
  const indent = share === undefined ? 0 : 2 * RING + 7;
  setText(set(note, { x: left + indent, y: bottom - 13 }), noteOf(server, isNarrow));
}

function createSentinel() {
  return svg(
    'g',
    {},
    svg('circle', { r: 6 }),
    svg('text', { class: 'small', 'text-anchor': 'middle' }),
    svg('text', { class: 'small', 'text-anchor': 'middle' }),
  );
}

/** @param {Element} element @param {{ sentinel: SentinelView, at: { x: number, y: number } }} item */
function updateSentinel(element, { sentinel, at }) {
  const [dot, name, says] = /** @type {[Element, Element, Element]} */ ([...element.children]);
  set(element, { class: `sentinel${sentinel.isUp ? '' : ' down'}` });
  set(dot, { cx: at.x, cy: at.y - 18 });
  setText(set(name, { x: at.x, y: at.y + 2 }), sentinel.name);
  setText(set(says, { x: at.x, y: at.y + 16 }), sentinel.says);
}
