// Whether recordings are in the cloud, what keeps them from it, and the levers. A simulated cloud takes what comes.

import type { Page } from '@playwright/test';

import { accessible, Api, expect, pictured, signIn, test, until } from './world';

test.describe.configure({ mode: 'serial' });

const cloud = (page: Page, name: string) => page.getByTestId('cloud').filter({ has: page.getByText(name, { exact: true }) });
const chain = (page: Page, episode: number) => page.getByTestId('chain').filter({ has: page.getByRole('link', { name: String(episode), exact: true }) });
const heading = (page: Page) => page.getByRole('heading', { level: 2, name: /^Cloud sync of episode/ });

// Names of accounts are taken once; by hand the tests run against a server again and again.
const RUN = Date.now().toString(36);

interface Chain {
  episode_id: number;
  status: string;
  error_class?: string;
  destinations?: Record<string, { status: string } | undefined>;
}
const chains = async (api: Api, status: string) => (await api.get(`sync/episodes/summary?status=${status}&limit=100`)).items as Chain[];
const synced = (api: Api) => until(async () => (await chains(api, 'completed'))[0], 'an episode in the cloud');

/** Presses a button that asks before it acts. */
async function confirmed(page: Page, name: string, reason = ''): Promise<void> {
  await page.getByRole('button', { name, exact: true }).click();
  const dialog = page.getByRole('dialog', { name, exact: true });
  if (reason) await dialog.getByLabel('Reason').fill(reason);
  await dialog.getByRole('button', { name: 'Confirm' }).click();
  await expect(dialog).toHaveCount(0);
}

test('episodes arrive in the cloud while one looks, and their latency is told', async ({ page, api }) => {
  await synced(api);
  await signIn(page, '#/sync');
  const arrived = async () => Number((await page.getByTestId('in-cloud').innerText()).replaceAll(',', ''));
  await expect(page.getByTestId('in-cloud')).toBeVisible();
  const before = await arrived();
  expect(before).toBeGreaterThan(0);
  await expect(page.getByTestId('latency')).toContainText('median');
  await expect(cloud(page, 's3')).toContainText('active');
  await expect(cloud(page, 'gateway')).toContainText('active');
  await expect(async () => expect(await arrived()).toBeGreaterThan(before)).toPass({ timeout: 40_000 });
  await pictured(page, 'sync');
});

test('a cloud that is paused gets nothing, the other one does, and it takes what waited when it is resumed', async ({ page, api }) => {
  await signIn(page, '#/sync');
  await cloud(page, 's3').getByRole('button', { name: 'Pause' }).click();
  const dialog = page.getByRole('dialog', { name: 'Pause' });
  await dialog.getByLabel('Reason').fill('the line is being repaired');
  await dialog.getByRole('button', { name: 'Confirm' }).click();
  await expect(cloud(page, 's3')).toContainText('the line is being repaired');
  // The other cloud goes on, so the episode is half there.
  const half = (one: Chain) => one.destinations?.gateway?.status === 'completed';
  const held = await until(async () => (await chains(api, 'pending')).find(half)?.episode_id, 'an episode that is half there');
  await expect(chain(page, held)).toContainText(/gateway\s*completed/);
  await expect(chain(page, held)).toContainText(/s3\s*pending/);
  await accessible(page);
  await cloud(page, 's3').getByRole('button', { name: 'Resume' }).click();
  await expect(cloud(page, 's3')).toContainText('active');
  await page.goto(`/#/sync/episodes/${held}`);
  await expect(heading(page)).toContainText('completed', { timeout: 30_000 });
  await expect(page.getByTestId('leg')).toHaveCount(2);
  await expect(page.getByTestId('leg').filter({ hasText: 's3' })).toContainText('sha256');
});

test('each file on its way has its progress, and all of them a speed', async ({ page, api }) => {
  // Recordings of the simulated robot are there at once: two large ones are made up of what the server says of a small one.
  const real = await synced(api);
  const status = await api.get(`sync/episodes/${real.episode_id}/status`);
  let asked = 0;
  await page.route(/sync\/episodes\/summary\?status=in_progress/, (route) =>
    route.fulfill({ json: { items: [900001, 900002].map((episode_id) => ({ ...real, episode_id, status: 'in_progress' })), total: 2, limit: 50, offset: 0 } }));
  await page.route(/sync\/episode-statuses/, (route) => {
    asked += 1;
    const items = [900001, 900002].map((episode_id, index) => {
      const uploaded_bytes = (index + 1) * 20_000_000 + asked * 4_000_000;
      return { ...status, episode_id, status: 'in_progress', progress: { percent: Math.min(99, uploaded_bytes / 1_000_000), total_bytes: 100_000_000, uploaded_bytes, updated_at: new Date().toISOString() } };
    });
    return route.fulfill({ json: { items } });
  });
  await signIn(page, '#/sync');
  await expect(chain(page, 900001).getByRole('progressbar', { name: 'Progress of episode 900001' })).toBeVisible();
  await expect(chain(page, 900001)).toContainText('of 100 MB');
  await expect(chain(page, 900002)).toContainText(/[4-9]\d %/);
  await expect(page.getByTestId('rate')).toContainText(/now [\d.]+ MB\/s/);
  await pictured(page, 'sync-progress');
});

test('what failed is told by its cause, and is tried again when that is mended; what is there is pushed once more', async ({ page, api }) => {
  const robot = (await api.get('robots?limit=1')).items[0] as { id: number; asset_id: string };
  await api.ask('DELETE', `robots/${robot.id}/cloud-asset`);
  const failed = await until(async () => (await chains(api, 'failed')).find((one) => one.error_class === 'no_asset')?.episode_id, 'an episode without an asset');
  await signIn(page, '#/sync');
  await expect(page.getByTestId('cause').filter({ hasText: 'no_asset' })).toBeVisible();
  await accessible(page);
  await page.goto('/#/sync/episodes?status=failed');
  await expect(chain(page, failed)).toContainText('no_asset');
  await pictured(page, 'sync-failed');
  await api.ask('PUT', `robots/${robot.id}/cloud-asset`, { asset_id: robot.asset_id });
  await page.goto(`/#/sync/episodes/${failed}`);
  await confirmed(page, 'Try again');
  await expect(heading(page)).toContainText('completed', { timeout: 30_000 });
  await pictured(page, 'sync-episode');

  const rows = page.locator('tr[data-row]');
  const before = await rows.count();
  await confirmed(page, 'Push once more');
  await expect(rows).toHaveCount(before + 1);
  await expect(rows.first()).toContainText('resync');
  await expect(heading(page)).toContainText('completed', { timeout: 30_000 });
});

test('two people do not undo each other: auto scan is switched with the revision that was seen', async ({ page, api }) => {
  await signIn(page, '#/sync');
  await page.getByRole('button', { name: 'Switch off' }).click();
  const dialog = page.getByRole('dialog', { name: 'Auto scan' });
  await api.ask('PUT', 'sync/config', { auto_scan_enabled: false });
  await api.ask('PUT', 'sync/config', { auto_scan_enabled: true });
  await dialog.getByRole('button', { name: 'Switch off' }).click();
  await expect(dialog.getByRole('alert')).toBeVisible();
  await expect(dialog).toContainText('Another person switched it meanwhile.');
  expect((await api.get('sync/config')).auto_scan_enabled).toBe(true);
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Switch off' }).click();
  await dialog.getByRole('button', { name: 'Switch off' }).click();
  await expect(page.getByText('What is approved waits until a person pushes it.')).toBeVisible();
});

test('many are pushed, and their edge copies removed, after a preview', async ({ page, api }) => {
  // Auto scan is off: what is approved now waits.
  await until(async () => (await api.get('data-ops/episodes?sync_status=not_started&qa_status=approved&limit=1')).total > 0, 'an approved episode that waits');
  await signIn(page, '#/sync/bulk?sync_status=not_started&qa_status=approved');
  await expect(page.getByTestId('preview')).toContainText('Would be done');
  await page.getByRole('button', { name: /^Push \d+$/ }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByTestId('bulk-run')).toContainText('completed');
  await expect(page).toHaveURL(/run=/);
  const first = (await synced(api)).episode_id;
  const id = (await api.get(`episodes/${first}`)).episode_id as string;
  await page.goto(`/#/sync/bulk?kind=cleanup&q=${id}`);
  await pictured(page, 'sync-bulk');
  await page.getByRole('button', { name: 'Remove 1 copies' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByTestId('bulk-run')).toContainText('1 of 1 worked on');
  await until(async () => (await api.get(`episodes/${first}`)).edge_copy === 'deleted', 'the edge copy is gone');
  await page.getByRole('button', { name: 'Refresh' }).click();
  await expect(page.getByText('edge_copy_gone')).toBeVisible();
  await page.goto('/#/sync/runs');
  await expect(page.locator('tr[data-row]').filter({ hasText: 'Remove edge copies' })).toBeVisible();
});

test('an auditor has no levers, a production manager pushes and pauses nothing', async ({ page, api }) => {
  const first = (await synced(api)).episode_id;
  for (const [login_name, role] of [[`sync-auditor-${RUN}`, 'auditor'], [`sync-manager-${RUN}`, 'production_manager']]) {
    await api.post('accounts', { login_name, name: login_name, password: 'a-password-of-sync', role, whole_site: true });
  }
  for (const [login, pushes] of [[`sync-auditor-${RUN}`, false], [`sync-manager-${RUN}`, true]] as const) {
    await signIn(page, '#/sync', login, 'a-password-of-sync');
    await expect(cloud(page, 's3')).toBeVisible();
    await expect(page.getByRole('button', { name: /Pause|Switch/ })).toHaveCount(0);
    await page.goto(`/#/sync/episodes/${first}`);
    await expect(heading(page)).toContainText('completed');
    await expect(page.getByRole('button', { name: 'Push once more' })).toHaveCount(pushes ? 1 : 0);
  }
});
