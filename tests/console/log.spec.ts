// What happened: searched, followed live over a cut network without a gap, one event with its causes, exported.

import { readFile } from 'node:fs/promises';

import type { Page } from '@playwright/test';

import { Api, expect, pictured, signIn, test, until } from './world';

const rows = (page: Page) => page.getByTestId('event');
const positions = (page: Page) => rows(page).evaluateAll((all) => all.map((row) => Number(row.getAttribute('data-position'))));

// Names of accounts are taken once; by hand the tests run against a server again and again.
const RUN = Date.now().toString(36);

interface Event {
  position: number;
  event_id: string;
  type: string;
  category: string;
  stream_id: string;
  correlation_id: string;
  causation_id?: string;
}
/** An event that followed from others: the first episode of the robot at work. */
async function created(api: Api): Promise<Event> {
  return until(async () => (await api.get('events?type=episode_created&order=asc&limit=1')).items[0] as Event | undefined, 'an episode');
}

let made = 0;
/** So many events, whatever the robot does. */
async function happen(api: Api, times: number): Promise<void> {
  for (let i = 0; i < times; i += 1) {
    made += 1;
    await api.post('accounts', { login_name: `log-${RUN}-${made}`, name: 'Log', password: 'a-password-of-the-log', role: 'auditor', whole_site: true });
  }
}

test('a search by every kind of filter has its address, pages, and an empty state', async ({ page, api }) => {
  const event = await created(api);
  await signIn(page, '#/log');
  await expect(rows(page).first()).toBeVisible();
  // It moves by itself.
  const newest = (await positions(page))[0] ?? 0;
  await happen(api, 1);
  await expect(async () => expect((await positions(page))[0]).toBeGreaterThan(newest)).toPass({ timeout: 30_000 });

  await page.getByLabel('Type', { exact: true }).fill('episode_created');
  await page.getByLabel('Type', { exact: true }).press('Tab');
  await page.getByLabel('About a unit').fill(`episode/${event.stream_id}`);
  await page.getByLabel('About a unit').press('Tab');
  await expect(page).toHaveURL(new RegExp(`type=episode_created&about=episode%2F${event.stream_id}`));
  await expect(rows(page)).toHaveCount(1);
  await expect(rows(page)).toHaveAttribute('data-position', String(event.position));

  await page.goto(`/#/log?content=${encodeURIComponent(`episode_id:${event.stream_id} action:nothing`)}`);
  await expect(page.getByText('Nothing in the log matches.')).toBeVisible();
  await page.goto(`/#/log?category=episode,task&to_position=${event.position}&order=asc`);
  await expect(rows(page).first()).toBeVisible();
  const shown = await positions(page);
  expect(shown).toEqual([...shown].sort((a, b) => a - b));
  expect(Math.max(...shown)).toBeLessThanOrEqual(event.position);
  // The next page begins behind the last row.
  const top = await until(async () => {
    const { readable_to } = (await api.get('events?limit=1')) as { readable_to: number };
    if (readable_to > 60) return readable_to;
    await happen(api, 5);
    return undefined;
  }, 'a log of more than a page');
  const from = (position: number) => Array.from({ length: Math.min(50, position) }, (_, i) => position - i);
  await page.goto(`/#/log?to_position=${top}`);
  await expect(async () => expect(await positions(page)).toEqual(from(top))).toPass();
  await page.getByRole('button', { name: 'Next page' }).click();
  await expect(async () => expect(await positions(page)).toEqual(from(top - 50))).toPass();
  // A filter that the server does not take is refused in its words.
  await page.goto('/#/log?stream=nonsense');
  await expect(page.getByRole('alert')).toBeVisible();
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await expect(rows(page)).toHaveCount(50);
  await pictured(page, 'log');
});

test('the live tail comes back from a cut network without a gap', async ({ page, api, context }) => {
  await created(api);
  await signIn(page, '#/log?live=true');
  const tail = page.getByTestId('tail');
  await expect(tail).toHaveText('Live');
  await happen(api, 4);
  await expect(async () => expect(await rows(page).count()).toBeGreaterThan(3)).toPass({ timeout: 30_000 });

  await context.setOffline(true);
  await expect(tail).toContainText('Cut off');
  await expect(page.locator('header').getByText('Cut off, trying again…')).toBeVisible();
  // What had come before the cut is on the page by now.
  await page.waitForTimeout(500);
  const before = (await positions(page))[0] ?? 0;
  // What happens now is not seen.
  await happen(api, 5);
  const missed = await until(async () => {
    const found = (await api.get(`events?from_position=${before + 1}&order=asc&limit=100`)).items as Event[];
    return found.length >= 5 && found;
  }, 'events while the network is cut', 30);
  expect((await positions(page))[0]).toBe(before);

  await context.setOffline(false);
  await expect(tail).toHaveText('Live');
  const last = missed.at(-1)?.position ?? 0;
  await expect(async () => expect((await positions(page))[0]).toBeGreaterThanOrEqual(last)).toPass();
  const shown = await positions(page);
  expect(new Set(shown).size).toBe(shown.length);
  // Every event of the log between the oldest that is shown and the newest, and none twice.
  const oldest = shown.at(-1) ?? 0;
  const newest = shown[0] ?? 0;
  const wanted: number[] = [];
  for (let after = oldest - 1; after < newest; ) {
    const asked = (await api.get(`events?order=asc&limit=200&after=${after}&from_position=${oldest}&to_position=${newest}`)) as { items: Event[]; next_after?: number };
    wanted.push(...asked.items.map((event) => event.position));
    if (asked.next_after === undefined) break;
    after = asked.next_after;
  }
  expect(shown).toEqual(wanted.reverse());
  await pictured(page, 'log-live');
});

test('a tail that is paused holds back what comes; with another filter it is another tail', async ({ page, api }) => {
  await signIn(page, '#/log?live=true');
  await expect(page.getByTestId('tail')).toHaveText('Live');
  await happen(api, 1);
  await expect(rows(page).first()).toBeVisible();
  await page.getByRole('button', { name: 'Pause' }).click();
  await happen(api, 2);
  await expect(page.getByTestId('held')).toBeVisible({ timeout: 30_000 });
  const held = (await positions(page))[0] ?? 0;
  await page.waitForTimeout(700);
  expect((await positions(page))[0]).toBe(held);
  await page.getByRole('button', { name: 'Go on' }).click();
  await expect(async () => expect((await positions(page))[0]).toBeGreaterThan(held)).toPass();
  await expect(page.getByTestId('held')).toHaveCount(0);

  // A reload goes on following, with the same login.
  await page.reload();
  await expect(page.getByTestId('tail')).toHaveText('Live');
  await expect(page.locator('header').getByText('Live', { exact: true })).toBeVisible();
  await page.getByLabel('Kind of stream').fill('account');
  await page.getByLabel('Kind of stream').press('Tab');
  await expect(page.getByText('Nothing has come yet.')).toBeVisible();
  await happen(api, 1);
  await expect(rows(page).first()).toContainText('account');
  await page.getByRole('button', { name: 'Stop following' }).click();
  await expect(page.getByTestId('tail')).toHaveCount(0);
});

test('one event has its data, the tree of its causes and effects, and links to its units', async ({ page, api }) => {
  const event = await created(api);
  await signIn(page, `#/log/${event.position}`);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(`Event ${event.position}`);
  await expect(page.getByTestId('json')).toContainText('"checksum"');
  const tree = page.getByTestId('tree-event');
  await expect(tree.filter({ hasText: 'this event' })).toContainText('episode_created');
  // What led to it stands above it, what followed below.
  const read = async () => (await tree.allInnerTexts()).map((text) => text.replace(/^[●└]\s*/, '').split(/\s/)[0]);
  await expect(async () => {
    const types = await read();
    const at = types.indexOf('episode_created');
    expect(at).toBeGreaterThan(0);
    expect(types.slice(at)).toContain('qa_run_ended');
  }).toPass();
  await pictured(page, 'event');
  await expect(page.getByRole('link', { name: `episode ${event.stream_id}`, exact: true })).toHaveAttribute('href', `#/episodes/${event.stream_id}`);
  await tree.first().getByRole('link').first().click();
  await expect(page.getByRole('heading', { level: 1 })).not.toHaveText(`Event ${event.position}`);
  await page.goBack();
  await page.getByRole('link', { name: 'Everything that the same request led to' }).click();
  await expect(page).toHaveURL(new RegExp(`correlation_id=${event.correlation_id}`));
  await expect(page.locator(`[data-position="${event.position}"]`)).toBeVisible();
  await page.goto('/#/log/999999999');
  await expect(page.getByRole('alert')).toBeVisible();
});

test('what matches is exported as CSV and as NDJSON; who may not read the log has no page of it', async ({ page, api }) => {
  const event = await created(api);
  await signIn(page, `#/log?stream=episode%2F${event.stream_id}`);
  for (const [name, ending] of [['Export NDJSON', 'ndjson'], ['Export CSV', 'csv']] as const) {
    const [file] = await Promise.all([
      page.waitForEvent('download'),
      (async () => {
        await page.getByRole('button', { name }).click();
        await page.getByRole('dialog', { name }).getByRole('button', { name: 'Confirm' }).click();
      })(),
    ]);
    expect(file.suggestedFilename()).toMatch(new RegExp(`\\.${ending}$`));
    const text = await readFile(await file.path(), 'utf8');
    expect(text).toContain(event.event_id);
    if (ending === 'ndjson') expect(text.trim().split('\n').every((line) => JSON.parse(line).stream_id === event.stream_id)).toBe(true);
  }
  await api.post('accounts', { login_name: `log-manager-${RUN}`, name: 'Manager', password: 'manager-password', role: 'production_manager', whole_site: true });
  await signIn(page, '#/log', `log-manager-${RUN}`, 'manager-password');
  await expect(page.getByText('Your role does not open this page.')).toBeVisible();
});
