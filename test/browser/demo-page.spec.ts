import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { PageServer } from '../../sample/demo/page-server.js';
import { openPage, startBrowser, type WatchedPage } from '../support/browser.js';
import { until } from '../support/eventually.js';
import { QUARANTINE, StandInDemo } from '../support/stand-in-demo.js';

const HOSTILE = [
  '<img src=x onerror="document.title=`taken`">',
  '"><script>document.title="taken"</script>',
  '</li></ul><h1>taken</h1>',
  '{{constructor}}',
  'a\u202egnp.exe',
  '__proto__',
  'x'.repeat(300),
];

describe('The page of the demonstration', () => {
  let browser: Browser;
  let demo: StandInDemo;
  let server: PageServer;
  let opened: WatchedPage[];

  beforeAll(async () => {
    browser = await startBrowser();
  });
  afterAll(() => browser?.close());
  beforeEach(async () => {
    demo = new StandInDemo();
    server = await PageServer.start(demo);
    opened = [];
  });
  afterEach(async () => {
    await Promise.all(opened.map(({ close }) => close()));
    await server.close();
    expect(opened.flatMap(({ complaints }) => complaints)).toEqual([]);
  });

  async function open(options?: BrowserContextOptions): Promise<Page> {
    const one = await openPage(browser, server.url, options);
    opened.push(one);
    await one.page.getByText('live: it is your turn').waitFor();
    return one.page;
  }

  /** What a screen reader has instead of the picture. */
  function inWords(page: Page): Promise<string[]> {
    return page.locator('#picture li').allTextContents();
  }

  const untilText = (page: Page, text: string | RegExp): Promise<void> =>
    page.getByText(text).first().waitFor({ timeout: 5_000 });

  it('shows the kill of the master, the promotion of a replica, and the quarantine of young links', async () => {
    const page = await open();
    expect(await inWords(page)).toEqual([
      'redis-1: master, offset 48,210, grants locks',
      'redis-2: replica, offset 48,210, in step, link 61.0 s',
      'redis-3: replica, offset 48,210, in step, link 61.0 s',
      'shop-1: 0 held, 0 waiting',
      'shop-2: 0 held, 0 waiting',
    ]);
    expect(await page.locator('.link.client').count()).toBe(2);

    const cut = { linkAge: undefined, behind: undefined };
    demo.showServers({ condition: 'dead', ...cut }, cut, cut);
    demo.happen('redis-1, the master, is killed', { kind: 'fault' });
    await untilText(page, 'No master');
    await untilText(page, 'redis-1, the master, is killed');
    expect((await inWords(page)).slice(0, 2)).toEqual([
      'redis-1: killed, offset 48,210, kill -9',
      'redis-2: replica, offset 48,210, no link',
    ]);
    expect(await page.locator('.link.dead').count()).toBe(2);
    expect(await page.locator('.link.flows').count()).toBe(0);

    demo.showServers({}, { role: 'master' }, { linkAge: 1_000, behind: 0 });
    demo.show({ quarantine: QUARANTINE - 1_000 });
    await untilText(page, 'redis-2 is the master');
    // The usual lock asks no replica, and waits for no link.
    expect((await inWords(page)).slice(1, 3)).toEqual([
      'redis-2: master, offset 48,210, grants locks',
      'redis-3: replica, offset 48,210, in step, link 1.0 s',
    ]);
    demo.show({ lock: 'replica' });
    await untilText(page, 'redis-2 is the master; no new lock for 4.0 s');
    expect((await inWords(page)).slice(1, 3)).toEqual([
      'redis-2: master, offset 48,210, new locks in 4.0 s',
      'redis-3: replica, offset 48,210, in step, counts in 4.0 s',
    ]);
    expect(await page.locator('.server.master .name').textContent()).toBe('redis-2');
    // The ring is closed as far as the link has come.
    const drawn = await page.locator('.ring').nth(2).getAttribute('stroke-dasharray');
    const [part = 0, all = 0] = drawn!.split(' ').map(Number);
    expect(part / all).toBeCloseTo(0.2, 1);
  });

  it('shows a replica that is stopped, and one that is cut off', async () => {
    const page = await open();
    demo.showServers({}, { condition: 'stopped', behind: 912 }, { condition: 'cut-off', linkAge: undefined });
    await page.locator('.server.stopped').waitFor();
    expect((await inWords(page)).slice(1, 3)).toEqual([
      'redis-2: stopped, offset 48,210, 912 B behind, does not answer',
      'redis-3: cut off, offset 48,210, in step, no link to the master',
    ]);
    expect(await page.locator('.link.broken').count()).toBe(2);
  });

  it('says at a glance that the usual lock charged twice and the replica lock never', async () => {
    const page = await open();
    const result = { payments: 20, refused: 0, orders: 2, doubleCharges: 0, kills: 1 };
    demo.show({
      results: {
        none: { ...result, payments: 0 },
        usual: { ...result, doubleCharges: 2 },
        replica: { ...result, refused: 8 },
      },
      bank: {
        charges: 6,
        doubleCharges: 2,
        refused: 0,
        orders: [
          { order: 'r-1', charges: 1, lock: 'replica' },
          { order: 'u-2', charges: 3, lock: 'usual' },
          { order: 'u-1', charges: 1, lock: 'usual' },
        ],
      },
    });
    await untilText(page, '20 payments · 8 refused · 1 master killed');
    const card = (lock: string): Promise<string> => page.locator(`#card-${lock}`).innerText();
    expect(await card('none')).toContain('no payments yet');
    expect((await card('usual')).replaceAll('\n', ' ')).toContain('2 double charges');
    expect((await card('replica')).replaceAll('\n', ' ')).toContain('0 double charges');
    const colour = (lock: string): Promise<string> =>
      page
        .locator(`#card-${lock} .score`)
        .evaluate((score) => score.ownerDocument.defaultView.getComputedStyle(score).color);
    expect(new Set([await colour('none'), await colour('usual'), await colour('replica')]).size).toBe(3);
    expect(await page.locator('#card-usual .dot.twice').allTextContents()).toEqual(['3×']);
    expect(await page.locator('#card-replica .dot').count()).toBe(1);
    // Among the charges an order that was charged twice comes first, in words and not by colour alone.
    await untilText(page, 'Charges under the usual lock');
    await untilText(page, '2 orders charged · 1 of them twice');
    expect(await page.locator('#charges li').allInnerTexts()).toEqual([
      'u-2\ncharged 3×',
      'u-1\ncharged once',
    ]);
  });

  it('shows who holds an order, who waits, and two shops that work on one order at once', async () => {
    const page = await open();
    const payment = { shop: 'shop-1', lock: 'usual' as const, since: 0, step: 'working' as const };
    const lock = { kind: 'usual' as const, holder: 'shop-1', remainingTime: 4_100, fencingToken: undefined };
    demo.show({
      payments: [
        { ...payment, id: 1, order: 'held' },
        { ...payment, id: 2, order: 'held', shop: 'shop-2', step: 'waiting' },
        { ...payment, id: 3, order: 'both' },
        { ...payment, id: 4, order: 'both', shop: 'shop-2' },
      ],
      locks: [
        { ...lock, order: 'held' },
        { ...lock, order: 'both', holder: 'shop-2' },
      ],
    });
    await untilText(page, '1 waiting');
    const rows = (await page.locator('#locks .row').allInnerTexts()).map((row) => row.replaceAll('\n', ' '));
    expect(rows).toEqual(['held shop-1 · 4.1 s 1 waiting', 'both shop-1 and shop-2 at once']);
    expect(await page.locator('#locks .tag.twice').count()).toBe(1);
  });

  it('sends what its buttons say, and each button says what it would do now', async () => {
    const page = await open();
    const click = async (name: string): Promise<void> => {
      const before = demo.calls.length;
      await page.getByRole('button', { name }).click();
      await until(() => demo.calls.length > before, { what: `'${name}' is sent` });
    };
    await click('Send 20 payments');
    await click('Kill the master');
    await click('Stop a replica');
    await click('Cut a replica off');
    demo.showServers({ condition: 'dead' }, { role: 'master' }, { condition: 'stopped' });
    await click('Start redis-1 again');
    await click('Let redis-3 go on');
    demo.showServers({}, {}, { condition: 'cut-off' });
    await click('Let redis-3 back');
    expect(demo.calls).toEqual([
      ['pay', { count: 20 }],
      ['killMaster', { lagging: true }],
      ['stopReplica', {}],
      ['cutOff', {}],
      ['startAgain', undefined],
      ['continueReplica', undefined],
      ['reconnect', undefined],
    ]);
  });

  it('works with the keyboard alone', async () => {
    const page = await open();
    const focused = (): Promise<string> =>
      page.locator(':focus').evaluate((element) => element.id || element.getAttribute('value') || '');
    const stops: string[] = [];
    for (let i = 0; i < 7; i++) {
      await page.keyboard.press('Tab');
      stops.push(await focused());
    }
    // The link over the cards, the chosen card, the buttons, the events.
    expect(stops.slice(1)).toEqual(['usual', 'pay', 'kill', 'stop', 'cut', 'events']);
    await page.locator('input[value=usual]').focus();
    await page.keyboard.press('ArrowRight');
    await until(() => demo.state().lock === 'replica', { what: 'the lock is switched' });
    await page.locator('#card-replica', { hasText: 'in use' }).waitFor();
    await page.locator('#kill').focus();
    await page.keyboard.press('Enter');
    await until(() => demo.calls.length === 2, { what: 'the action is sent' });
    expect(demo.calls).toEqual([
      ['useLock', { lock: 'replica' }],
      ['killMaster', { lagging: true }],
    ]);
    expect(await focused()).toBe('kill');
  });

  it('says why an action is refused', async () => {
    const page = await open();
    demo.refusal = 'a fail-over is going on';
    await page.getByRole('button', { name: 'Kill the master' }).click();
    const answer = page.getByRole('status').filter({ hasText: 'a fail-over is going on' });
    await answer.waitFor();
    // Chromium writes each answer of 409 into the console.
    expect(opened[0]!.complaints.splice(0)).toEqual([expect.stringContaining('409')]);
    await page.getByRole('button', { name: 'Kill the master' }).click();
    await until(async () => (await answer.count()) === 0, { what: 'the refusal is gone' });
  });

  it('sends nothing while the rounds run', async () => {
    const page = await open();
    demo.show({ phase: 'rounds', title: 'Round 2: the usual lock' });
    await untilText(page, 'Round 2: the usual lock');
    await untilText(page, 'The buttons work after the rounds');
    expect(await page.locator('button:not([aria-disabled=true])').count()).toBe(0);
    expect(await page.locator('input:enabled').count()).toBe(0);
    for (const button of await page.locator('button').all()) await button.click({ force: true });
    demo.show({ phase: 'free' });
    await page.locator('button:not([aria-disabled=true])').first().waitFor();
    expect(await page.locator('#answer').textContent()).toBe('');
    expect(demo.calls).toEqual([]);
  });

  it('shows hostile order names as text', async () => {
    const page = await open();
    const payment = { shop: 'shop-1', lock: 'none' as const, since: 0, step: 'working' as const };
    demo.show({
      bank: {
        charges: 7,
        doubleCharges: 0,
        refused: 0,
        orders: HOSTILE.map((order) => ({ order, charges: 2, lock: 'usual' })),
      },
      payments: HOSTILE.slice(0, 5).map((order, id) => ({ ...payment, id, order })),
    });
    for (const order of HOSTILE) demo.happen(`${order} was charged twice`, { kind: 'bank', tone: 'bad' });
    await untilText(page, `${HOSTILE[0]} was charged twice`);
    await page.locator('#charges li').first().waitFor();
    const texts = [
      ...(await page.locator('#locks .key').allTextContents()),
      ...(await page.locator('#charges .key').allTextContents()),
    ];
    // A character that turns the direction of the text is written out.
    const asShown = HOSTILE.map((order) => order.replace('\u202e', '\\u{202e}'));
    expect(texts).toEqual([...asShown.slice(0, 5), ...asShown]);
    expect(await page.locator('#events span').allTextContents()).toEqual(
      asShown.map((order) => `${order} was charged twice`).toReversed(),
    );
    expect(await page.locator('main img, main script, main h1').count()).toBe(0);
    expect(await page.title()).toBe('A fail-over, live');
    expect(await overflow(page)).toBe(0);
  });

  /** Pixels that the page is wider than its window. */
  function overflow(page: Page): Promise<number> {
    return page.locator('html').evaluate((html) => html.scrollWidth - html.clientWidth);
  }

  it.each([
    { width: 1280, height: 800 },
    { width: 390, height: 844 },
    { width: 320, height: 640 },
  ])('fits a window of $width pixels, and its texts fit their boxes', async (viewport) => {
    const page = await open({ viewport });
    demo.showServers(
      { offset: 1_048_576 },
      { condition: 'stopped', behind: 99_912 },
      { linkAge: 100, offset: 1_048_000 },
    );
    await page.locator('.server.stopped').waitFor();
    expect(await overflow(page)).toBeLessThanOrEqual(0);
    const outside: string[] = await page.locator('.server, .shop').evaluateAll((groups) =>
      groups.flatMap((group) => {
        const box = group.querySelector('.box')!.getBoundingClientRect();
        return [...group.querySelectorAll('text')]
          .filter((text) => text.textContent !== '')
          .filter((text) => {
            const { left, right, top, bottom } = text.getBoundingClientRect();
            return left < box.left || right > box.right || top < box.top || bottom > box.bottom;
          })
          .map((text) => text.textContent);
      }),
    );
    expect(outside).toEqual([]);
  });

  it.each(['light', 'dark'] as const)('has enough contrast in %s', async (colorScheme) => {
    const page = await open({ colorScheme });
    const ratios = await page.locator('html').evaluate((html) => {
      const style = html.ownerDocument.defaultView.getComputedStyle(html);
      const canvas = html.ownerDocument.createElement('canvas').getContext('2d');
      const luminance = (name: string): number => {
        canvas.fillStyle = style.getPropertyValue(name);
        const hex = Number.parseInt(canvas.fillStyle.slice(1), 16);
        const [r = 0, g = 0, b = 0] = [hex >> 16, (hex >> 8) & 255, hex & 255]
          .map((channel) => channel / 255)
          .map((channel) => (channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      return [
        ...['--ink', '--quiet', '--bad', '--good', '--accent'].flatMap((text) =>
          ['--panel', '--ground'].map((ground) => [text, ground]),
        ),
        ['--quiet', '--accent-soft'],
        ['--accent', '--accent-soft'],
        ['--good', '--good-soft'],
        ['--bad', '--bad-soft'],
        ['--ink', '--bad-soft'],
        ['--wait', '--wait-soft'],
        ['--on-fill', '--accent'],
        ['--on-fill', '--bad'],
      ].map(([text = '', ground = '']) => {
        const [a = 0, b = 0] = [luminance(text), luminance(ground)].toSorted((x, y) => y - x);
        return { text, ground, ratio: (a + 0.05) / (b + 0.05) };
      });
    });
    expect(ratios.filter(({ ratio }) => !(ratio >= 4.5))).toEqual([]);
  });

  it('moves nothing if the reader prefers that', async () => {
    const moving = (page: Page): Promise<number> =>
      page.locator('html').evaluate((html) => html.ownerDocument.getAnimations().length);
    expect(await moving(await open())).toBeGreaterThan(0);
    const still = await open({ reducedMotion: 'reduce' });
    demo.happen('news');
    await untilText(still, 'news');
    expect(await moving(still)).toBe(0);
  });

  it('tells a screen reader the news, but not what happened before the page came', async () => {
    demo.happen('before');
    const page = await open();
    await untilText(page, 'before');
    const log = page.getByRole('log', { name: 'Events' });
    await until(async () => (await log.getAttribute('aria-live')) === 'polite', { what: 'news are told' });
    demo.happen('news');
    await untilText(page, 'news');
    expect(await log.locator('li').allInnerTexts()).toEqual([
      expect.stringContaining('news'),
      expect.stringContaining('before'),
    ]);
    await page.getByRole('group', { name: 'The lock that the shops use' }).waitFor();
    await page.getByRole('radio', { name: /The usual lock/, checked: true }).waitFor();
  });

  it('says that the demonstration has ended, and shows the next one at the same address', async () => {
    demo.happen('of the first demonstration');
    const page = await open();
    await untilText(page, 'of the first demonstration');
    const port = Number(new URL(server.url).port);
    await server.close();
    await untilText(page, 'the demonstration has ended');
    expect(await page.locator('button:not([aria-disabled=true])').count()).toBe(0);
    demo = new StandInDemo();
    server = await PageServer.start(demo, port);
    demo.happen('of the second demonstration');
    await page.getByText('of the second demonstration').waitFor({ timeout: 12_000 });
    expect(await page.locator('#events li').count()).toBe(1);
    // Chromium writes each lost connection into the console.
    opened[0]!.complaints.splice(0);
  }, 30_000);

  it('lets no page of another origin act', async () => {
    const other = createServer((_, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<form method="post"></form>');
    }).listen(0, '127.0.0.1');
    other.unref();
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const { page, complaints, close } = await openPage(browser, `http://127.0.0.1:${port}`);
    const target = `${server.url}/actions/killMaster`;
    const answers = await page.locator('html').evaluate(async (html, url) => {
      const view = html.ownerDocument.defaultView;
      const json = { 'content-type': 'application/json' };
      const requests: RequestInit[] = [
        { method: 'POST', mode: 'no-cors', body: '{}' },
        { method: 'POST', mode: 'no-cors', body: '{}', headers: json },
        { method: 'POST', body: '{}', headers: json },
        { method: 'POST' },
      ];
      const sent = requests.map((request) =>
        fetch(url, request)
          .then(({ type }) => type)
          .catch(() => 'refused'),
      );
      return [...(await Promise.all(sent)), view.navigator.sendBeacon(url, '{}')];
    }, target);
    expect(answers).toEqual(['refused', 'refused', 'refused', 'refused', true]);
    // Nor may it read what the page reads, or lay the page below its own buttons.
    const state = await page.evaluate(
      (url) =>
        fetch(url)
          .then(String)
          .catch(() => 'refused'),
      `${server.url}/state`,
    );
    expect(state).toBe('refused');
    await page.locator('body').evaluate((body, url) => {
      body.append(Object.assign(body.ownerDocument.createElement('iframe'), { src: url }));
    }, server.url);
    await until(() => complaints.some((complaint) => complaint.includes('frame-ancestors')), {
      what: 'the frame is refused',
    });
    // A form is a navigation, which needs no permission of the page that it leads to.
    const navigated = page.waitForResponse(target);
    await page.locator('form').evaluate((form, url) => {
      form.action = url;
      form.submit();
    }, target);
    expect((await navigated).status()).toBe(403);
    expect(demo.calls).toEqual([]);
    await close();
    other.close();
    other.closeAllConnections();
  });
});
