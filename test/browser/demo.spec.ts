import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { openPage, startBrowser, type WatchedPage } from '../support/browser.js';
import { until } from '../support/eventually.js';

describe('The demonstration, in a browser', () => {
  let browser: Browser;
  let demo: ChildProcess;
  let output: string;
  let watched: WatchedPage;

  beforeAll(async () => {
    browser = await startBrowser();
  });
  afterAll(() => browser?.close());
  beforeEach(async () => {
    output = '';
    demo = spawn(process.execPath, ['scripts/run.mjs', 'demo', '--page'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own: the signal at the end reaches the demonstration behind the script.
      detached: true,
    });
    for (const stream of [demo.stdout, demo.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => (output += text));
    const address = await until(() => /http:\/\/127\.0\.0\.1:\d+/.exec(output)?.[0], {
      within: 150_000,
      what: 'the demonstration prints its address',
    });
    watched = await openPage(browser, address);
  }, 160_000);
  afterEach(async () => {
    await watched?.close();
    const ended = once(demo, 'exit');
    process.kill(-demo.pid!, 'SIGTERM');
    await ended;
  }, 30_000);

  const master = (page: Page): Promise<string | null> => page.locator('.server.master .name').textContent();

  /** Chooses a lock, waits until it is granted, and kills the master. Resolves after the promotion. */
  async function failOver(page: Page, lock: 'usual' | 'replica'): Promise<void> {
    await page.locator(`#card-${lock}`).click();
    await page.locator(`#card-${lock} .use`, { hasText: 'in use' }).waitFor();
    await page.getByText('grants locks').first().waitFor({ state: 'attached' });
    const before = await master(page);
    await page.getByRole('button', { name: 'Kill the master' }).click();
    await page.locator('.server.killed .name', { hasText: before! }).waitFor();
    await page.getByText('No master').waitFor();
    await page.locator('.server.master').waitFor({ timeout: 40_000 });
    expect(await master(page)).not.toBe(before);
    await page
      .getByText(`${await master(page)} is promoted`)
      .first()
      .waitFor();
    await page.locator(`#card-${lock}`, { hasText: '1 master killed' }).waitFor();
  }

  it('shows kills and promotions: the usual lock charges twice, the replica lock does not', async () => {
    const { page, complaints } = watched;
    await page.getByText('live: it is your turn').waitFor({ timeout: 60_000 });
    await page.getByRole('button', { name: 'Send 20 payments' }).click();
    await page.getByText('20 payments of 10 orders').waitFor({ timeout: 40_000 });

    await failOver(page, 'usual');
    await page.locator('#card-usual.twice').waitFor({ timeout: 40_000 });
    await page.locator('#charges li.twice').first().waitFor();
    await page.getByText('orders are charged twice').first().waitFor({ timeout: 40_000 });

    await failOver(page, 'replica');
    await page.getByText(/held locks are renewed/).waitFor({ timeout: 40_000 });
    await page.getByText(/no new lock for/).waitFor();
    expect(await page.locator('.ring').count()).toBe(3);
    await page.getByText(/payments end under their locks/).waitFor({ timeout: 40_000 });
    expect(await page.locator('#card-replica').getAttribute('class')).toBe('card never');
    expect(await page.locator('#charges li.twice').count()).toBe(0);

    for (const [does, undoes, shows] of [
      ['Stop a replica', /Let redis-\d go on/, '.server.stopped'],
      ['Cut a replica off', /Let redis-\d back/, '.server.cut'],
    ] as const) {
      await page.getByRole('button', { name: does }).click({ timeout: 40_000 });
      await page.locator(shows).waitFor();
      await page.getByRole('button', { name: undoes }).click();
      await page.locator(shows).waitFor({ state: 'detached' });
    }
    expect(complaints).toEqual([]);
  }, 200_000);
});
