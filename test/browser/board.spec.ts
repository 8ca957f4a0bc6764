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
});
