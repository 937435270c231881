import { Station } from './factory';
import { expect, signIn, test, until, type Api } from './world';

// What holds on every page: what is not known is not said, the keyboard is never nowhere, and no address breaks anything.

const RUN = `${Date.now()}`;

async function screen(api: Api): Promise<[string, string]> {
  const [login_name, password] = [`screen-${RUN}`, 'a password of a screen'];
  await api.post('accounts', { login_name, name: 'Screen', role: 'display', whole_site: true, password });
  return [login_name, password];
}

test('a screen hears nothing of robots, says nothing of them, and leads only where it may go', async ({ page, api }) => {
  await signIn(page, '#/floor', ...(await screen(api)));
  const robots = page.locator('[data-figure="robots"] .figure');
  await expect(robots).toHaveText(/^– \/ [1-9]/);
  await expect(robots).not.toHaveClass(/bad/);
  await expect(page.getByText('disconnected')).toHaveCount(0);
  for (const to of await page.locator('main a[href^="#/"]').evaluateAll((links) => links.map((link) => link.getAttribute('href') ?? ''))) {
    await page.goto(`/${to}`);
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
    await expect(page.getByText('Your role does not open this page.'), to).toHaveCount(0);
  }
});

for (const [name, ahead] of [['ahead', 200_000], ['behind', -3_600_000]] as const) {
  test(`a computer whose clock is ${name} says nothing false`, async ({ page, api }) => {
    await until(async () => (await api.get('alerts')).looked_at, 'figures');
    await until(async () => (await api.get('episodes?limit=1')).total > 0, 'an episode');
    await page.addInitScript((by) => {
      const now = Date.now.bind(Date);
      Date.now = () => now() + by;
    }, ahead);
    await signIn(page, '#/floor');
    await expect(page.locator('[data-figure="robots"]')).toBeVisible();
    await page.waitForTimeout(1500);
    await expect(page.getByText('looked up long ago')).toHaveCount(0);
    const asked = page.waitForRequest((request) => request.url().includes('quality') && request.url().includes('end_time='));
    await page.goto('/#/quality');
    const end = new URL((await asked).url()).searchParams.get('end_time') ?? '';
    expect(Math.abs(Date.parse(end) - Date.now())).toBeLessThan(150_000);
  });
}

test('the keyboard is somewhere after each lever, and what is in a dialog can be copied over plain HTTP', async ({ page, api }) => {
  const station = await Station.made(api);
  const { order } = await station.work(2);
  await page.addInitScript(() => {
    Object.defineProperty(navigator, 'clipboard', { value: undefined });
    document.execCommand = () => {
      const area = document.activeElement;
      (window as { copied?: string }).copied = area instanceof HTMLTextAreaElement ? area.value.slice(area.selectionStart, area.selectionEnd) : '';
      return true;
    };
  });
  await signIn(page, `#/orders/${order}`);
  const held = () => page.evaluate(() => document.activeElement?.tagName);
  await page.getByRole('button', { name: 'Pause', exact: true }).focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('button', { name: 'Confirm' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.locator('[data-finding="paused"]')).toBeVisible();
  await expect.poll(held).not.toBe('BODY');

  await page.getByRole('button', { name: 'Delete' }).click();
  await expect(page.getByRole('dialog').getByRole('button', { name: 'Cancel' })).toBeFocused();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await page.getByRole('dialog').getByRole('button', { name: /^Copy/ }).click();
  expect(await page.evaluate(() => (window as { copied?: string }).copied)).toMatch(/^\S{8,}$/);
  await page.keyboard.press('Escape');
  await expect(page.getByRole('button', { name: 'Delete' })).toBeFocused();
});

test('no address breaks a page, and a page that is left asks for nothing', async ({ page, api }) => {
  const episode = await until(async () => (await api.get('episodes?limit=1')).items[0], 'an episode');
  const asked: string[] = [];
  page.on('request', (request) => asked.push(request.url()));
  await signIn(page, `#/episodes/${episode.id}`);
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  await page.goto('/#/inspection');
  await expect(page.getByRole('heading', { level: 1, name: /nspect/ })).toBeVisible();
  expect(asked.filter((url) => url.includes('NaN'))).toEqual([]);
  for (const unit of ['__proto__', 'constructor', 'toString']) {
    await page.goto(`/#/story/${unit}/1`);
    await expect(page.getByText('Loading…')).toHaveCount(0);
  }
  await page.goto('/#/people/nothing');
  await expect(page.getByText('There is no such page.')).toBeVisible();
});
