import { expect, pictured, signIn, test, until, type Api } from './world';

interface Episode { id: number; qa_status: string; sync_status: string; labels: string[]; note?: string }

/** The first approved episode that there is, once the robot has recorded one. */
async function approved(api: Api, more = ''): Promise<Episode> {
  return until(async () => ((await api.get(`episodes?qa_status=approved&limit=1${more}`)) as { items: Episode[] }).items[0], 'an approved episode', 80);
}

test('watch a recording become an approved episode without reloading', async ({ page, api }) => {
  const newest = ((await api.get('episodes?limit=1')) as { items: Episode[] }).items[0]?.id ?? 0;
  // Of an episode that there is not yet, the page says so, and goes on asking.
  await signIn(page, `#/episodes/${newest + 1}`);
  await page.evaluate(() => Object.assign(window, { stayed: true }));
  await expect(page.getByTestId('qa-status')).toHaveText('approved', { timeout: 80_000 });
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(`Episode ${newest + 1}`);

  await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Episodes' }).click();
  await expect(page.locator('tr', { has: page.getByRole('link', { name: String(newest + 1), exact: true }) }).first()).toContainText('approved');
  expect(await page.evaluate(() => (window as { stayed?: boolean }).stayed)).toBe(true);
  await pictured(page, 'episodes');
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/#\/episodes\/\d+$/);
});

test('an episode says why it is good, and how it came to be', async ({ page, api }) => {
  const { id } = await approved(api);
  await signIn(page, `#/episodes/${id}`);
  const picture = page.getByRole('img', { name: '/camera0/rgb at 0.0 s' });
  await expect(picture).toBeVisible();
  expect(await picture.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBeGreaterThan(0);
  expect(await picture.getAttribute('src')).toMatch(/^blob:/);
  await page.getByRole('button', { name: /Show the picture at/ }).last().click();
  await expect(page).toHaveURL(/at=\d/);

  await expect(page.getByRole('img', { name: /^\/camera0\/rgb: from 0\.\d+ s to/ })).toBeVisible();
  await expect(page.getByText('Nothing is wrong: every check passed, or does not apply.')).toBeVisible();
  await page.getByLabel('Show those that passed or do not apply').check();
  const gap = page.locator('tr', { has: page.getByText('max_gap', { exact: true }) });
  await expect(gap).toContainText('longest 100 ms');
  await expect(gap).toContainText('pass 200 ms');
  await page.getByLabel('Show those that passed or do not apply').uncheck();
  await expect(page.getByText('the key that signs now')).toBeVisible();
  await page.evaluate(() => scrollTo(0, 0));
  await pictured(page, 'episode');

  const [certificate] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download the certificate' }).click()]);
  expect(certificate.suggestedFilename()).toBe(`${id}.certificate.json`);
  const [recording] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download the recording' }).click()]);
  expect(recording.suggestedFilename()).toMatch(/\.mcap$/);
  await page.getByRole('button', { name: 'Open in a viewer…' }).click();
  await expect(page.getByRole('link', { name: /Open in Foxglove/ })).toHaveAttribute('href', /^https:\/\/app\.foxglove\.dev\/.*\.mcap$/);
  await page.keyboard.press('Escape');
});

test('labels and a note are put on, whatever they hold', async ({ page, api }) => {
  const { id } = await approved(api);
  const hostile = '<img src=x onerror="window.harmed=1">\u202Eedoc';
  await api.ask('PATCH', `episodes/${id}`, { note: `${'x'.repeat(10_000)} <script>window.harmed=1</script>` });
  await signIn(page, `#/episodes/${id}`);
  await page.getByLabel('Add a label').fill(hostile);
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await expect(page.getByRole('listitem').filter({ hasText: '<img src=x' })).toBeVisible();
  expect(((await api.get(`episodes/${id}`)) as Episode).labels).toContain(hostile);
  expect(await page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth)).toBe(true);

  await page.getByLabel('Note').fill('seen');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('Saved.')).toBeVisible();
  expect(((await api.get(`episodes/${id}`)) as Episode).note).toBe('seen');
  await page.goto('/#/episodes');
  await expect(page.getByText('<img src=x', { exact: false }).first()).toBeVisible();
  expect(await page.evaluate(() => 'harmed' in window)).toBe(false);
});

test('gaps of a topic stand on its line, and lead to their pictures', async ({ page, api }) => {
  const { id } = await approved(api);
  const found = (await api.get(`episodes/${id}/timeline`)) as { topics: Record<string, unknown>[] };
  const [camera] = found.topics;
  // No robot of ours loses messages: the answer says so of one.
  const hostile = `/<b>arm</b>\u202E${'a'.repeat(200)}`;
  const topics = [{ ...camera, gaps: [{ from_sec: 1.2, to_sec: 1.75 }] }, { ...camera, topic: hostile, message_type: 'std_msgs/String', gaps: [], more_gaps: 0 }];
  await page.route(`**/episodes/${id}/timeline`, (route) => route.fulfill({ json: { ...found, topics } }));
  await signIn(page, `#/episodes/${id}`);
  const line = page.locator('tr', { has: page.getByRole('img', { name: /1 gaps$/ }) });
  await expect(line).toContainText('0.55 s');
  await expect(line.locator('title')).toHaveText('No message from 1.20 s to 1.75 s');
  await line.getByRole('link', { name: '1.20–1.75' }).click();
  await expect(page).toHaveURL(/at=1\.2/);
  await expect(page.getByRole('img', { name: '/camera0/rgb at 1.2 s' }).first()).toBeVisible();
  expect(await page.locator('b', { hasText: 'arm' }).count()).toBe(0);
  expect(await page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth)).toBe(true);
});

test('the edge copy is looked at, removed when the clouds have it, and brought back', async ({ page, api }) => {
  const { id } = await until(
    async () => ((await api.get('episodes?cloud_synced=true&edge_copy=available&limit=1')) as { items: Episode[] }).items[0],
    'a synced episode',
  );
  await signIn(page, `#/episodes/${id}`);
  const edge = page.locator('tr', { has: page.getByText('Edge storage', { exact: true }) });
  await edge.getByRole('button', { name: 'Look at it' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(edge).toContainText('sound', { timeout: 20_000 });
  await edge.getByRole('button', { name: 'Remove the edge copy' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(edge).toContainText('deleted', { timeout: 30_000 });
  await page.getByRole('button', { name: 'Download the recording' }).click();
  await expect(page.getByRole('alert')).toContainText('edge_copy_gone');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await edge.getByRole('button', { name: 'Restore it' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(edge).toContainText('available', { timeout: 30_000 });
});

test('filters stand in the address, and an empty list says what to do', async ({ page, api }) => {
  const { id } = await approved(api);
  await signIn(page, '#/episodes?label=nothing-has-it');
  await expect(page.getByText('No episode is like this.')).toBeVisible();
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await expect(page.locator('tbody tr').first()).toBeVisible();
  const { episode_id: publicId } = (await api.get(`episodes/${id}`)) as { episode_id: string };
  await page.getByLabel('Id of episode or task, or flag').fill(publicId);
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(new RegExp(`q=${publicId}`));
  await expect(page.locator('tbody tr')).toHaveCount(1);
  await page.getByLabel('Copies').selectOption('damaged');
  await expect(page).toHaveURL(/copies=damaged/);
  await expect(page.getByText('No episode is like this.')).toBeVisible();
});

test('an auditor sees an episode and no levers, in Chinese, too', async ({ page, api }) => {
  const { id } = await approved(api);
  const login = `auditor-${Date.now()}`;
  await api.post('accounts', { login_name: login, name: 'Auditor', role: 'auditor', password: 'a password of one’s own' });
  await signIn(page, `#/episodes/${id}`, login, 'a password of one’s own');
  await expect(page.getByTestId('qa-status')).toHaveText('approved');
  await expect(page.getByRole('button', { name: 'Open in a viewer…' })).toBeVisible();
  for (const lever of ['Run the checks', 'Reopen…', 'Look at it', 'Remove the edge copy', 'Save']) {
    await expect(page.getByRole('button', { name: lever })).toHaveCount(0);
  }
  await page.evaluate(() => localStorage.setItem('keystone.language', 'zh'));
  await page.reload();
  await expect(page.getByRole('heading', { name: '时间轴' })).toBeVisible();
});
