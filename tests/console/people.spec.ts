import type { Browser, Page } from '@playwright/test';

import { Api, expect, pictured, signIn, test, until, URL_OF_SERVER } from './world';

const unique = `${Date.now()}`;

/** A second person, in a browser of their own. */
async function asAnother(browser: Browser, place: string, name: string, password: string): Promise<Page> {
  const page = await (await browser.newContext({ baseURL: URL_OF_SERVER, locale: 'en' })).newPage();
  await signIn(page, place, name, password);
  return page;
}

test('an account is made, sees its factory, and is disabled', async ({ page, browser, api }) => {
  const login = `shift-${unique}`;
  const factory = (await api.get('factories?limit=1')).items[0];
  await signIn(page, '#/people/accounts');
  await page.getByRole('link', { name: 'New account' }).first().click();
  await page.getByLabel('Login name').fill('admin');
  await page.getByLabel('Name', { exact: false }).nth(1).fill('Shift lead');
  await page.getByLabel('Role').selectOption('production_manager');
  await page.getByLabel('These factories').check();
  await page.getByRole('combobox', { name: 'Factories' }).selectOption(String(factory.id));
  await page.getByLabel('Password').fill('first-password-1');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.locator('[data-field="login_name"]')).toContainText("is the administrator's account name");
  await page.getByLabel('Login name').fill(login);
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('heading', { level: 2, name: login })).toBeVisible();
  await expect(page.locator('dd', { hasText: factory.name })).toBeVisible();
  await pictured(page, 'people-account');

  const other = await asAnother(browser, '#/people/access', login, 'first-password-1');
  await expect(other.getByText('You see some factories')).toBeVisible();
  await expect(other.getByRole('link', { name: 'Accounts' })).toHaveCount(0);

  await page.getByRole('button', { name: 'Reset password' }).click();
  await page.getByRole('button', { name: 'Make one up' }).click();
  const password = await page.getByRole('dialog').getByLabel('New password').inputValue();
  expect(password.length).toBeGreaterThan(15);
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByRole('dialog')).toHaveCount(0);
  await other.getByRole('link', { name: 'Sessions' }).click();
  await expect(other.getByText('Your session has ended')).toBeVisible();

  // Back to where one was, with the new password; then one of one's own.
  await other.getByLabel('Account', { exact: true }).fill(login);
  await other.getByLabel('Password', { exact: true }).fill(password);
  await other.getByRole('button', { name: 'Sign in' }).click();
  await expect(other.getByText('Your own. Administrators')).toBeVisible();
  await other.getByRole('link', { name: 'Your password' }).click();
  await other.getByLabel('Password of now').fill('not this one');
  await other.getByLabel('New password', { exact: true }).fill('second-password-2');
  await other.getByLabel('New password, again').fill('second-password-3');
  await expect(other.getByText('The two are not the same.')).toBeVisible();
  await other.getByLabel('New password, again').fill('second-password-2');
  await other.getByRole('button', { name: 'Change password' }).click();
  await expect(other.getByRole('alert')).toBeVisible();
  await other.getByLabel('Password of now').fill(password);
  await other.getByRole('button', { name: 'Change password' }).click();
  await expect(other.getByRole('button', { name: 'Sign in' })).toBeVisible();
  await signIn(other, '#/people', login, 'second-password-2');

  await page.getByRole('button', { name: 'Disable' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.locator('dd', { hasText: 'disabled' })).toBeVisible();
  await other.getByRole('link', { name: 'Sessions' }).click();
  await expect(other.getByText('Your session has ended')).toBeVisible();
  await other.context().close();
  await page.goto('/#/people/accounts?status=disabled');
  await expect(page.getByRole('link', { name: login })).toBeVisible();
});

test('a key is shown once, says when it was used, and is revoked', async ({ page, api, request }) => {
  await signIn(page, '#/people/keys');
  await page.getByRole('button', { name: 'Issue a key' }).click();
  const form = page.getByRole('form', { name: 'Issue a key' });
  await form.getByLabel('Name').fill(`exporter-${unique}`);
  await form.getByLabel('Role').selectOption('auditor');
  await form.getByLabel('Expires').fill('2020-01-01T00:00');
  await form.getByRole('button', { name: 'Issue a key' }).click();
  await expect(form.getByRole('alert')).toContainText('expires_at lies in the past');
  await form.getByLabel('Expires').fill('2199-01-01T00:00');
  await form.getByRole('button', { name: 'Issue a key' }).click();
  const key = (await page.getByTestId('once').locator('code').textContent()) ?? '';
  expect(key).toMatch(/^kak_v1_auditor_/);
  await page.getByRole('button', { name: 'I have kept it' }).click();
  expect(await page.content()).not.toContain(key);

  const headers = { authorization: `Bearer ${key}` };
  const used = () => request.get(`${URL_OF_SERVER}/api/v1/events?limit=1`, { headers });
  expect((await used()).status()).toBe(200);
  const row = page.getByRole('row', { name: new RegExp(`exporter-${unique}`) });
  await until(async () => (await api.get('api-keys')).items.some((item: { name: string; last_used_at: string | null }) => item.name === `exporter-${unique}` && item.last_used_at), 'the use is noted', 30);
  await page.reload();
  await expect(row).toContainText('ago');
  await pictured(page, 'people-keys');
  await row.getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(row).toHaveCount(0);
  expect((await used()).status()).toBe(401);
  await page.getByLabel('also those that ended').check();
  await expect(row).toContainText('revoked');
});

test('sessions end, access is told, and the audit finds who was refused', async ({ page, browser, api, request }) => {
  const organization = (await api.get('organizations?limit=1')).items[0];
  const inspector = await api.post('inspectors', { organization_id: organization.id, name: 'Ines', inspector_id: `ines-${unique}`, password: 'inspect-1' });
  const other = await asAnother(browser, '#/people', `ines-${unique}`, 'inspect-1');
  await expect(other.getByRole('navigation', { name: 'People' }).getByRole('link')).toHaveText(['Data collectors', 'Sessions', 'Access', 'Your password']);

  await signIn(page, `#/people/sessions?who=inspector:${inspector.id}`);
  await expect(page.locator('[data-row]')).toHaveCount(1);
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByText('No session matches')).toBeVisible();
  await other.getByRole('link', { name: 'Sessions' }).click();
  await expect(other.getByText('Your session has ended')).toBeVisible();
  await other.context().close();
  await page.goto('/#/people/sessions');
  await expect(page.getByText('this one')).toBeVisible();
  await pictured(page, 'people-sessions');

  await page.goto('/#/people/access?route=api-keys&method=POST');
  const row = page.getByRole('row', { name: /POST \/api-keys/ });
  await expect(row.getByRole('cell')).toHaveText(['POST', '/api-keys', /✓/, /●/, 'no', 'no', 'no', 'no', 'no', 'site']);
  await page.getByRole('combobox', { name: 'Whose' }).selectOption('others');
  await expect(page.getByText('Nothing matches')).toBeVisible();
  await page.goto('/#/people/access?route=robots');
  await pictured(page, 'people-access');

  const refused = await Api.signedIn(request, `ines-${unique}`, 'inspect-1');
  expect((await request.get(`${URL_OF_SERVER}/api/v1/accounts`, { headers: { authorization: `Bearer ${refused.token}` } })).status()).toBe(403);
  await page.goto('/#/people/audit?kind=refusal');
  const entry = page.getByRole('row', { name: /GET \/api\/v1\/accounts/ }).first();
  await until(async () => {
    await page.getByRole('button', { name: 'Refresh' }).click();
    return entry.isVisible();
  }, 'the refusal is in the audit', 20);
  await expect(entry).toContainText('403');
  await page.getByRole('combobox', { name: 'Kind' }).selectOption('change');
  await expect(page).toHaveURL(/kind=change/);
  await page.getByRole('searchbox', { name: 'Action' }).fill('inspector_created');
  await expect(page.getByRole('row', { name: new RegExp(`inspector/${inspector.id}`) })).toBeVisible();
  await pictured(page, 'people-audit');
  const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export CSV' }).click()]);
  expect(file.suggestedFilename()).toBe('audit.csv');
  await page.getByRole('searchbox', { name: 'About' }).fill('nonsense');
  await expect(page.getByRole('alert')).toContainText('entity must be a kind and an id');
});
