import type { Page } from '@playwright/test';

import { expect, signIn, test, type Api } from './world';

// Each role sees the pages that the access table gives it, and nothing that a page asks for is refused to it.

let madeSoFar = 0;
const ALL = ['Floor', 'Orders', 'Episodes', 'Quality', 'Deliveries', 'Cloud sync', 'Log', 'People', 'Registry'];
const PASSWORD = 'role-password-1';

const ROLES: Record<string, { pages: string[]; people: string[] }> = {
  admin: { pages: ALL, people: ['Accounts', 'Data collectors', 'Inspectors', 'API keys', 'Sessions', 'Audit', 'Access', 'Your password'] },
  production_manager: { pages: ALL.filter((page) => page !== 'Deliveries' && page !== 'Log'), people: ['Data collectors', 'Inspectors', 'Sessions', 'Access', 'Your password'] },
  data_inspector: { pages: ['Orders', 'Episodes', 'Quality', 'People', 'Registry'], people: ['Data collectors', 'Sessions', 'Access', 'Your password'] },
  data_collector: { pages: ['Floor', 'Orders', 'Episodes', 'People', 'Registry'], people: ['Data collectors', 'Sessions', 'Access', 'Your password'] },
  auditor: { pages: ALL, people: ['Accounts', 'Data collectors', 'Inspectors', 'API keys', 'Sessions', 'Audit', 'Access', 'Your password'] },
  display: { pages: ['Floor', 'People'], people: ['Sessions', 'Access', 'Your password'] },
};

async function made(api: Api, role: string): Promise<string> {
  madeSoFar += 1;
  const name = `${role}-${Date.now()}-${madeSoFar}`;
  const organization_id = (await api.get('organizations?limit=1')).items[0].id;
  if (role === 'data_collector') await api.post('data_collectors', { organization_id, name, operator_id: name, password: PASSWORD });
  else if (role === 'data_inspector') await api.post('inspectors', { organization_id, name, inspector_id: name, password: PASSWORD });
  else await api.post('accounts', { login_name: name, name, role, whole_site: true, password: PASSWORD });
  return name;
}

/** Everything that was refused to the page as not its own. */
function refusals(page: Page): string[] {
  const refused: string[] = [];
  page.on('response', (response) => {
    if (response.status() === 403) refused.push(`${response.request().method()} ${response.url()} on ${page.url()}`);
  });
  return refused;
}

const menu = (page: Page) => page.getByRole('navigation', { name: 'Pages' }).locator('a:not(.brand)');
/** What a page asks first it asks at once, and it says so until it is answered. */
async function settled(page: Page): Promise<void> {
  await page.waitForTimeout(80);
  await expect(page.getByText('Loading…')).toHaveCount(0);
}

for (const [role, { pages, people }] of Object.entries(ROLES)) {
  test(`what is for ${role}`, async ({ page, api }) => {
    const name = await made(api, role);
    const refused = refusals(page);
    await signIn(page, '#/people', name, PASSWORD);
    // The badge of dead letters is no part of the name.
    const names = (await menu(page).allInnerTexts()).map((text) => text.split('\n')[0]?.trim() ?? '');
    expect(names).toEqual(pages);
    await expect(page.getByRole('navigation', { name: 'People' }).getByRole('link')).toHaveText(people);

    const visited = new Set<string>();
    for (let at = 0; at < pages.length; at += 1) {
      await menu(page).nth(at).click();
      await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
      await settled(page);
      // The parts of the page, each once.
      for (const to of await page.locator('main nav a[href^="#/"]').evaluateAll((links) => links.map((link) => link.getAttribute('href') ?? ''))) {
        if (visited.has(to)) continue;
        visited.add(to);
        await page.goto(`/${to}`);
        await settled(page);
      }
    }
    const ADDRESSES = ['floor', 'orders', 'episodes', 'quality', 'deliveries', 'sync', 'log', 'people', 'registry'];
    for (const [i, address] of ADDRESSES.entries()) {
      if (pages.includes(ALL[i] ?? '')) continue;
      await page.goto(`/#/${address}`);
      await expect(page.getByText('Your role does not open this page.')).toBeVisible();
    }
    expect(refused, 'what pages asked for, and is not for this role').toEqual([]);
  });
}

test('who only reads is offered no lever', async ({ page, api }) => {
  const robot = (await api.get('robots?limit=1')).items[0];
  await signIn(page, '#/registry/robots', await made(api, 'auditor'), PASSWORD);
  await expect(page.getByRole('link', { name: robot.device_id })).toBeVisible();
  await expect(page.getByRole('link', { name: 'New robot' })).toHaveCount(0);
  await page.goto(`/#/registry/robots/${robot.id}`);
  await expect(page.getByRole('heading', { level: 2, name: robot.device_id })).toBeVisible();
  for (const lever of ['Change', 'Delete', 'Retire', 'New token', 'Bind asset']) await expect(page.getByRole('button', { name: lever, exact: true })).toHaveCount(0);
  await page.goto('/#/registry/robots/new');
  await expect(page.getByRole('button', { name: 'Save' })).toHaveCount(0);
  await page.goto('/#/people/keys');
  await expect(page.getByRole('heading', { level: 2, name: 'API keys' })).toBeVisible();
  await expect(page.getByRole('button', { name: 'Issue a key' })).toHaveCount(0);
});
