import type { Page } from '@playwright/test';

import { expect, pictured, signIn, test, until, type Api } from './world';

const PASSWORD = 'a password of one’s own';

interface Item { id: number; qa_status: string }

async function inspector(api: Api, level: string): Promise<string> {
  const organization = ((await api.get('organizations?limit=1')) as { items: { id: string }[] }).items[0]?.id;
  const login = `${level.replace('_', '-')}-${Date.now()}`;
  await api.post('inspectors', { organization_id: organization, name: `Inspector ${level}`, inspector_id: login, certification_level: level, password: PASSWORD });
  return login;
}

/** Has some approved episodes wait for a senior inspector. */
async function reopened(api: Api, count: number): Promise<number[]> {
  const items = await until(async () => {
    const found = ((await api.get(`episodes?qa_status=approved&limit=${count}`)) as { items: Item[] }).items;
    return found.length >= count && found;
  }, `${count} approved episodes`, 90);
  for (const { id } of items) await api.post(`inspection/episodes/${id}/reopen`, { reason: 'the test looks again' });
  return items.map(({ id }) => id);
}

/** The episode that the inspector looks at. */
const looked = (page: Page) => Number(/inspection\/(\d+)/.exec(page.url())?.[1]);

test('approve and reject by keyboard', async ({ page, api }) => {
  await reopened(api, 3);
  const login = await inspector(api, 'senior');
  await signIn(page, '#/inspection?level=senior', login, PASSWORD);
  await expect(page.locator('tbody tr', { hasText: 'reopened' }).first()).toContainText('senior');
  await pictured(page, 'inspection');

  await page.keyboard.press('n');
  await expect(page).toHaveURL(/#\/inspection\/\d+\?level=senior$/);
  const first = looked(page);
  await expect(page.getByText('You hold it until')).toBeVisible();
  await expect(page.getByText(/\(\d+ min left\)/)).toBeVisible();
  await page.keyboard.press('a');
  await expect(page.getByLabel('Approve, because')).toBeFocused();
  await page.keyboard.type('steady hands');
  await pictured(page, 'inspecting');
  await page.keyboard.press('Enter');
  await expect(page.getByTestId('decided')).toContainText(/approved: (settled|second wanted)/);
  // Where a second look is wanted, the first one alone does not make it so.
  const decisions = (await api.get(`inspection/episodes/${first}/decisions`)) as { items: { decision: string; reason: string; effect: string }[] };
  expect(decisions.items.at(-1)).toMatchObject({ decision: 'approved', reason: 'steady hands' });
  if (decisions.items.at(-1)?.effect === 'settled') await expect(page.getByTestId('qa-status')).toHaveText('inspector approved');

  await page.keyboard.press('n');
  await expect(page).not.toHaveURL(new RegExp(`/inspection/${first}\\?`));
  await expect(page.getByText('You hold it until')).toBeVisible();
  const second = looked(page);
  await page.keyboard.press('r');
  await page.keyboard.type('the cup fell');
  await page.keyboard.press('Enter');
  await expect(page.getByTestId('decided')).toContainText(/rejected: (settled|second wanted)/);
  const rejected = (await api.get(`inspection/episodes/${second}/decisions`)) as { items: { decision: string }[] };
  expect(rejected.items.at(-1)?.decision).toBe('rejected');
  await expect(page.locator('td', { hasText: 'the cup fell' })).toBeVisible();

  await page.keyboard.press('n');
  await expect(page.getByText('You hold it until')).toBeVisible();
  await expect(page).not.toHaveURL(new RegExp(`/inspection/${second}\\?`));
  // What was said is offered again, and Escape leaves it unsaid.
  await page.keyboard.press('a');
  await expect(page.getByLabel('Approve, because')).toHaveValue('steady hands');
  await page.keyboard.press('Escape');
  await expect(page.getByLabel('Approve, because')).toHaveCount(0);
  const third = looked(page);
  await page.getByRole('button', { name: 'Release' }).click();
  await expect(page).toHaveURL(/#\/inspection\?level=senior$/);
  await expect(page.locator('tbody tr', { has: page.getByRole('link', { name: String(third), exact: true }) })).toContainText('free');
});

test('what another holds is refused, and what is above a level, in the words of the server', async ({ page, api, playwright }) => {
  const [taken] = await reopened(api, 1);
  const junior = await inspector(api, 'level_1');
  await signIn(page, '#/inspection', junior, PASSWORD);
  await expect(page.getByText('Nothing waits for a decision.')).toBeVisible();
  await page.keyboard.press('n');
  await expect(page.getByText('Nothing waits for you.')).toBeVisible();
  await page.goto(`/#/episodes/${taken}`);
  await expect(page.getByTestId('qa-status')).toHaveText('needs inspection');
  await page.keyboard.press('a');
  await expect(page.getByRole('alert')).toContainText('inspector_level');

  const senior = await inspector(api, 'senior');
  const request = await playwright.request.newContext();
  const { Api } = await import('./world');
  const other = await Api.signedIn(request, senior, PASSWORD);
  await other.post(`inspection/episodes/${taken}/take`);
  await request.dispose();

  // Who manages sees who waits, and that it is held; and decides nothing.
  const manager = `manager-${Date.now()}`;
  await api.post('accounts', { login_name: manager, name: 'Manager', role: 'production_manager', password: PASSWORD });
  await signIn(page, '#/inspection', manager, PASSWORD);
  const row = page.locator('tbody tr', { has: page.getByRole('link', { name: String(taken), exact: true }) });
  await expect(row).toContainText('until');
  await expect(page.getByRole('button', { name: /Take the next one/ })).toHaveCount(0);
  await row.getByRole('link').click();
  await expect(page.getByTestId('qa-status')).toHaveText('needs inspection');
  await expect(page.getByRole('button', { name: /Approve/ })).toHaveCount(0);
});
