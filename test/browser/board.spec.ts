import type { Browser } from 'playwright-core';
import { everyone, startBoard } from '../board/apps.js';
import { openPage, startBrowser } from '../support/browser.js';
import { until } from '../support/eventually.js';
import { startReplication, type Replication } from '../support/replication.js';

const HOSTILE = [
  '<img src=x onerror=alert(1)>',
  '"><script>alert(2)</script>',
  "' onmouseover='alert(3)",
  'javascript:alert(4)',
  '{root}',
  '\u202Egpj.exe',
  'two\nlines\0',
];

let browser: Browser;
beforeAll(async () => {
  browser = await startBrowser();
});
afterAll(() => browser.close());

describe('The page of the board, with a master and two replicas', () => {
  let servers: Replication;
  beforeAll(async () => {
    servers = await startReplication();
  });
  afterAll(() => servers.dispose());

  const start = (board = {}) =>
    startBoard({
      locks: { connection: servers.url, quarantine: 0, leaseTime: 5_000 },
      board: { guards: [everyone], ...board },
    });

  it('shows the servers, the held locks, the waiting callers and the elections of the process', async () => {
    await using board = await start();
    const lock = await board.locks.acquire('order:42');
    const waiting = board.locks.acquire('order:42', { waitTime: Infinity }).catch(() => {});
    const election = board.locks.elect('scheduler');
    await until(() => election.isLeader, { what: 'the process leads' });
    const { page, complaints, close } = await openPage(browser, board.url);
    await page.getByText('live', { exact: true }).waitFor();
    const picture = page.locator('#servers');
    await picture.getByText(servers.master.address).waitFor();
    for (const replica of servers.replicas) await picture.getByText(replica.address).waitFor();
    await picture
      .getByText(/^confirms/)
      .nth(1)
      .waitFor();
    await page.getByRole('table', { name: 'Held locks' }).getByText('order:42').waitFor();
    await page.getByRole('table', { name: 'Elections' }).getByText('leads').waitFor();
    expect(complaints).toEqual([]);
    await close();
    await lock.release();
    await waiting;
  });

  it('shows keys with markup as text, and characters that deceive as escapes', async () => {
    await using board = await start({ allowForceRelease: true });
    await board.locks.acquire(HOSTILE);
    await board.locks.acquire(HOSTILE[0]! + HOSTILE[5]!);
    const { page, complaints, close } = await openPage(browser, board.url);
    const held = page.locator('#held');
    await held.getByText(HOSTILE[0]!, { exact: true }).waitFor();
    await held.getByText('\\u{202e}gpj.exe').waitFor();
    await held.getByRole('button').last().click();
    await page.getByRole('dialog').getByText('\\u{202e}').waitFor();
    for (const tag of ['img[src="x"]', 'body script', '[onmouseover]'])
      expect(await page.locator(tag).count()).toBe(0);
    expect(complaints).toEqual([]);
    await close();
  });

  it('shows a replica that is gone, and a master that is gone', async () => {
    await using own = await startReplication();
    await using board = await startBoard({ locks: { connection: own.url, quarantine: 0 } });
    const { page, close } = await openPage(browser, board.url);
    const picture = page.locator('#servers');
    await picture
      .getByText(/^confirms/)
      .nth(1)
      .waitFor();
    await own.replica(0).dispose();
    await picture
      .locator('li', { hasText: own.replica(0).address })
      .getByText('not connected')
      .waitFor();
    await own.master.dispose();
    await picture.getByText('not available').waitFor();
    await page.getByText('Redis cannot be used').waitFor();
    await close();
  });

  it('tells what happens as it happens, and stands still while it is paused', async () => {
    await using board = await start();
    const { page, close } = await openPage(browser, board.url);
    const log = page.locator('#events');
    await page.getByText('live', { exact: true }).waitFor();
    await board.locks.withLock('order:1', () => undefined);
    await log.locator('li', { hasText: 'released' }).getByText('order:1').waitFor();
    await page.getByRole('button', { name: 'Pause' }).click();
    await board.locks.withLock('order:2', () => undefined);
    await page.getByRole('button', { name: 'Go on' }).waitFor();
    const other = await openPage(browser, board.url);
    await other.page.locator('#events').getByText('order:2').first().waitFor();
    expect(await log.getByText('order:2').count()).toBe(0);
    await page.getByRole('button', { name: 'Go on' }).click();
    await log.getByText('order:2').first().waitFor();
    await close();
    await other.close();
  });

  it('lists the locks of all processes when told to, and finds a key', async () => {
    await using board = await start();
    await using elsewhere = await start();
    const locks = await Promise.all(
      ['order:1', 'order:2', 'other'].map((key) => elsewhere.locks.acquire(key)),
    );
    const { page, complaints, close } = await openPage(browser, board.url);
    const found = page.getByRole('table', { name: 'Locks of all processes' });
    await page.getByText('live', { exact: true }).waitFor();
    expect(await found.count()).toBe(0);
    await page.getByRole('button', { name: 'List all' }).click();
    for (const key of ['order:1', 'order:2', 'other']) await found.getByText(key, { exact: true }).waitFor();
    await page.getByRole('searchbox').fill('order:*');
    await page.keyboard.press('Enter');
    await page.getByText(/: 2 locks\./).waitFor();
    expect(await found.getByText('other').count()).toBe(0);
    await page.getByRole('searchbox').fill('other');
    await page.getByRole('button', { name: 'Search' }).click();
    await page.getByText(/: 1 locks?\./).waitFor();
    await found.getByText(locks[2]!.owner).waitFor();
    await page.getByRole('searchbox').fill('nothing');
    await page.keyboard.press('Enter');
    await page.getByText(/: no locks\./).waitFor();
    await page.getByRole('searchbox').fill('x'.repeat(1_050));
    await page.keyboard.press('Enter');
    await page.getByText(/Not answered: .*1.?024/).waitFor();
    // The browser itself writes the refusal to its console.
    expect(complaints.filter((each) => !each.includes('400'))).toEqual([]);
    await close();
  });

  it('takes a key away once it is typed, with the keyboard alone', async () => {
    await using board = await start({ allowForceRelease: true });
    const lock = await board.locks.acquire('order:42');
    const { page, complaints, close } = await openPage(browser, board.url);
    const button = page.getByRole('button', { name: 'Release order:42' });
    await button.focus();
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog');
    await dialog.getByText(lock.owner).waitFor();
    await page.keyboard.type('order:4');
    await page.keyboard.press('Enter');
    expect(await dialog.getByRole('button', { name: 'Release' }).isDisabled()).toBe(true);
    expect(lock.held).toBe(true);
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    await button.focus();
    await page.keyboard.press('Enter');
    await page.keyboard.type('order:42');
    await page.keyboard.press('Enter');
    await until(() => lock.signal.aborted, { what: 'the holder is told' });
    await dialog.waitFor({ state: 'hidden' });
    await page.getByText('locks lost: 1').waitFor();
    expect(complaints).toEqual([]);
    await close();
  });

  it('has no button to take a key away unless that is allowed', async () => {
    await using board = await start();
    await board.locks.acquire('order:42');
    const { page, close } = await openPage(browser, board.url);
    await page.locator('#held').getByText('order:42').waitFor();
    expect(await page.getByRole('button', { name: /Release/ }).count()).toBe(0);
    await close();
  });

  it('keeps the text that an operator selects, and the focus, while new states come', async () => {
    await using board = await start({ allowForceRelease: true });
    await board.locks.acquire('order:42');
    const { page, close } = await openPage(browser, board.url);
    const key = page.locator('#held .key');
    await key.waitFor();
    await key.selectText();
    await page.getByRole('button', { name: 'Release order:42' }).focus();
    const endsIn = page.locator('#held td[data-head="Ends in"]');
    for (let i = 0; i < 2; i++) {
      const before = await endsIn.textContent();
      await until(async () => (await endsIn.textContent()) !== before, { what: 'a new state comes' });
    }
    expect(await page.evaluate('String(getSelection())')).toBe('order:42');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Release');
    await close();
  });

  it.each([
    ['light', 1280],
    ['dark', 1280],
    ['light', 390],
    ['dark', 390],
  ] as const)('fits in %s colours and a width of %i, whatever the keys are', async (colorScheme, width) => {
    await using board = await start({ allowForceRelease: true });
    for (const key of ['x'.repeat(1024), `order:${'\u0301'.repeat(300)}`, 'order:42'])
      await board.locks.acquire(key);
    void board.locks.acquire('order:42', { waitTime: '1m' }).catch(() => {});
    const { page, complaints, close } = await openPage(browser, board.url, {
      colorScheme,
      viewport: { width, height: 800 },
    });
    await page.locator('#waiting').getByText('order:42').waitFor();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
    const [red = 255] = String(await page.evaluate('getComputedStyle(document.body).backgroundColor'))
      .match(/\d+/g)!
      .map(Number);
    expect(red < 128).toBe(colorScheme === 'dark');
    expect(complaints).toEqual([]);
    await close();
  });

  it('says that it is not connected if the application ends, and goes on once it is back', async () => {
    const board = await start();
    const { page, close } = await openPage(browser, board.url);
    await page.getByText('live', { exact: true }).waitFor();
    const { port } = new URL(board.url);
    await board.app.close();
    await page.getByText('not connected, trying again').waitFor();
    await using again = await startBoard({ port: Number(port) });
    await page.getByText('live', { exact: true }).waitFor();
    expect(again.url).toBe(board.url);
    await close();
  });
});

describe('The page of the board', () => {
  it('is refused without guards', async () => {
    await using board = await startBoard({ board: {} });
    const { page, close } = await openPage(browser, board.url);
    await page.getByText(/refuses everyone/).waitFor();
    expect(await page.locator('script').count()).toBe(0);
    await close();
  });

  it('works behind a prefix, in memory, on Fastify, and at an address that ends with a slash', async () => {
    await using fastify = await startBoard({
      adapter: 'fastify',
      configure: (app) => app.setGlobalPrefix('api/v1'),
      path: '/api/v1/locks',
    });
    await using express = await startBoard({ path: '/locks/' });
    for (const { url } of [fastify, express]) {
      const { page, complaints, close } = await openPage(browser, url);
      await page.getByText('live', { exact: true }).waitFor();
      await page.getByText('The locks are kept in the memory of this process.').waitFor();
      expect(complaints).toEqual([]);
      await close();
    }
  });

  it('cannot be framed, and another site cannot take a key away', async () => {
    await using board = await startBoard({
      board: { guards: [everyone], allowForceRelease: true },
      configure: (app) => app.enableCors({ origin: true, credentials: true }),
    });
    const lock = await board.locks.acquire('order:42');
    await using other = await startBoard();
    const evil = other.url.replace('127.0.0.1', 'localhost').replace('/locks', '/nothing');
    const { page, close } = await openPage(browser, evil);
    const status = await page.evaluate(`fetch('${board.url}/api/release', {
      method: 'POST', credentials: 'include',
      headers: { 'content-type': 'application/json', 'x-replica-lock-board': 'release' },
      body: JSON.stringify({ key: 'order:42', confirmation: 'order:42' }),
    }).then(({ status }) => status)`);
    expect(status).toBe(403);
    await page.evaluate(
      `{ const frame = document.createElement('iframe'); frame.src = '${board.url}'; document.body.append(frame) }`,
    );
    await until(() => page.frames().length === 2 && page.frames()[1]!.url() !== '', {
      what: 'the frame has tried',
    });
    await page
      .frames()[1]!
      .waitForLoadState()
      .catch(() => {});
    expect(await page.frames()[1]!.locator('h1', { hasText: 'Lock board' }).count()).toBe(0);
    expect(lock.held).toBe(true);
    await close();
  });
});
