import type { Page } from '@playwright/test';

import { expect, signIn, test, until, type Api } from './world';

// Names that hold markup, turn the direction of what follows, or have no end. Some are admitted by the interface, and made here; those that
// it refuses are put into the database by what runs this test. Which pages show them is read from the interface.

const MARKUP = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>';
const TURNED = '\u202E\u2067egrahc on fo\u200F';
const ENDLESS = 'W'.repeat(200);
const unique = `${Date.now()}`;

/** Hostile names wherever the interface takes them. */
async function madeHostile(api: Api): Promise<void> {
  const name = `${MARKUP}${TURNED}${unique}`;
  const factory = await api.post('factories', { name, location: TURNED + ENDLESS, settings: { [MARKUP]: TURNED } });
  const organization = await api.post('organizations', { factory_id: factory.id, name: `${ENDLESS}${unique}`, description: `${MARKUP} `.repeat(200) });
  const scene = await api.post('scenes', { factory_id: factory.id, name, description: 'W'.repeat(10_000) });
  await api.post('subscenes', { scene_id: scene.id, name: `${ENDLESS}${unique}`, description: TURNED });
  const skill = await api.post('skills', { slug: `s${'w'.repeat(80)}${unique}`, description: MARKUP });
  await api.post('sops', { slug: `p${'w'.repeat(80)}${unique}`, description: `${TURNED}${'W'.repeat(10_000)}`, skill_sequence: [skill.id] });
  const type = await api.post('robot_types', { name, model: `${MARKUP}${unique}`, manufacturer: ENDLESS, ros_topics: [MARKUP, ENDLESS, TURNED] });
  const robot = await api.post('robots', { robot_type_id: type.id, factory_id: factory.id, device_id: `AB-${'W'.repeat(80)}-${unique}`, metadata: { [MARKUP]: 'W'.repeat(10_000) } });
  const collector = await api.post('data_collectors', { organization_id: organization.id, name, operator_id: `${ENDLESS.slice(0, 80)}${unique}`, password: 'x-password-1', certification: TURNED });
  await api.post('stations', { robot_id: robot.id, data_collector_id: collector.id, metadata: { note: MARKUP } });
  await api.post('inspectors', { organization_id: organization.id, name, inspector_id: `<b>${'W'.repeat(70)}${unique}`, email: `${MARKUP}@x`, password: 'x-password-1' });
  await api.post('accounts', { login_name: `<i>${'W'.repeat(70)}${unique}`, name, role: 'auditor', whole_site: true, password: 'x-password-1' });
  await api.post('api-keys', { name, role: 'auditor', whole_site: true });
  await api.post('orders', { name, organization_id: organization.id, scene_id: scene.id, target_count: 3, metadata: { [MARKUP]: TURNED } });
}

/** All pages, and those of the newest units of each kind. */
async function places(api: Api): Promise<string[]> {
  const ids = async (path: string, many = 2): Promise<string[]> => (await api.get(`${path}?limit=${many}`)).items.map((item: { id: string | number }) => String(item.id));
  const found = ['floor', 'orders', 'batches', 'tasks', 'episodes', 'inspection', 'quality', 'deliveries', 'sync', 'log', 'people/keys', 'people/sessions', 'people/audit', 'people/access'];
  for (const unit of ['orders', 'batches', 'tasks', 'episodes']) found.push(...(await ids(unit)).map((id) => `${unit}/${id}`));
  found.push(...(await ids('orders', 1)).map((id) => `story/order/${id}`), ...(await ids('tasks', 1)).map((id) => `story/task/${id}`));
  found.push(`log/${(await api.get('events?limit=1')).items[0].position}`);
  for (const kind of ['factories', 'organizations', 'scenes', 'subscenes', 'skills', 'sops', 'robot_types', 'robots', 'stations']) {
    found.push(`registry/${kind}`, ...(await ids(kind, 1)).flatMap((id) => [`registry/${kind}/${id}`, `registry/${kind}/${id}?edit=1`]), `registry/${kind}/new`);
  }
  for (const kind of ['accounts', 'data_collectors', 'inspectors']) found.push(`people/${kind}`, ...(await ids(kind, 1)).map((id) => `people/${kind}/${id}`));
  const odd = encodeURIComponent(MARKUP);
  found.push(`registry/factories?keyword=${odd}`, `orders/${odd}`, odd, `story/${odd}/${odd}`, 'log/%zz');
  return found;
}

/** What is wrong with the page as it stands. */
async function harm(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    if ('hit' in window) found.push('a script ran');
    if (document.querySelector('main img[src="x"], main script, header img[src="x"]')) found.push('markup of a name became an element');
    const wide = document.documentElement.scrollWidth - window.innerWidth;
    if (wide > 0) {
      const outermost = [...document.querySelectorAll('main *')].find((element) => element.getBoundingClientRect().right > window.innerWidth + 1 && element.closest('.scroll') === null);
      found.push(`the page is ${wide} px wider than the window: ${outermost?.outerHTML.slice(0, 200) ?? ''}`);
    }
    return found;
  });
}

test('no name harms any page', async ({ page, api }) => {
  await until(async () => (await api.get('episodes?limit=1')).total > 0, 'an episode');
  await madeHostile(api);
  await signIn(page, '#/registry/factories');
  // The names are there, as they were written.
  await expect(page.getByRole('link', { name: MARKUP, exact: false }).first()).toBeVisible();
  const found: string[] = [];
  for (const place of await places(api)) {
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.goto(`/#/${place}`);
    await expect(page.locator('main > *').first()).toBeVisible();
    await page.waitForTimeout(80);
    await expect(page.getByText('Loading…')).toHaveCount(0);
    for (const width of [1280, 768]) {
      await page.setViewportSize({ width, height: 800 });
      found.push(...(await harm(page)).map((wrong) => `${place} at ${width}: ${wrong}`));
    }
  }
  expect(found, found.join('\n')).toEqual([]);
});
