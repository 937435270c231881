import { expect, pictured, signIn, test, until, URL_OF_SERVER } from './world';

const unique = `${Date.now()}`;

test('an entry is made, changed and deleted, and refusals stand where they belong', async ({ page, api }) => {
  await signIn(page, '#/registry/factories');
  await expect(page.getByRole('heading', { level: 2, name: 'Factories' })).toBeVisible();
  const demo = (await api.get('factories?limit=1')).items[0];
  await expect(page.getByRole('link', { name: demo.name })).toBeVisible();
  await pictured(page, 'registry');

  // A zone that there is not: said beside its field. A name that is taken as well.
  await page.getByRole('link', { name: 'New factory' }).click();
  await page.getByLabel('Name').fill(demo.name);
  await page.getByLabel('Time zone').fill('Asia/Nowhere');
  await page.getByRole('button', { name: 'Save' }).click();
  const zone = page.locator('[data-field="timezone"]');
  await expect(zone).toContainText('is no zone of the IANA database');
  await expect(page.getByLabel('Time zone')).toHaveAttribute('aria-invalid', 'true');
  await page.getByLabel('Time zone').fill('Asia/Shanghai');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.locator('[data-field="name"]')).toContainText('a factory of this name is in use already');
  await expect(zone).not.toContainText('is no zone');
  await page.getByLabel('Settings').fill('{"shifts": 3');
  await page.getByLabel('Name').fill(`Annex ${unique}`);
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.locator('[data-field="settings"]')).toContainText('This is no JSON');
  await page.getByLabel('Settings').fill('{"shifts": 3}');
  await page.getByRole('button', { name: 'Save' }).click();

  await expect(page.getByRole('heading', { level: 2, name: `Annex ${unique}` })).toBeVisible();
  await expect(page.getByText('"shifts": 3')).toBeVisible();
  await page.getByRole('button', { name: 'Change' }).click();
  await expect(page).toHaveURL(/edit=1/);
  await page.getByLabel('Location').fill('Hall 7');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('Hall 7')).toBeVisible();
  const made = (await api.get('factories?keyword=Annex')).items.find((factory: { name: string }) => factory.name === `Annex ${unique}`);
  expect([made.location, made.timezone, made.settings]).toEqual(['Hall 7', 'Asia/Shanghai', { shifts: 3 }]);
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page).toHaveURL(/#\/registry\/factories$/);
  await expect(page.getByRole('link', { name: demo.name })).toBeVisible();
  await expect(page.getByRole('link', { name: `Annex ${unique}` })).toHaveCount(0);

  // What is needed stays, and says by what.
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/registry\/factories\/\d+$/);
  await page.goto(`/#/registry/factories/${demo.id}`);
  await expect(page.getByRole('link', { name: 'Scenes' }).last()).toHaveAttribute('href', `#/registry/scenes?factory_id=${demo.id}`);
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByRole('alert')).toContainText('the factory cannot be deleted');
  await expect(page.getByRole('dialog').locator('dl')).toContainText(/count\s*\d/);
  await pictured(page, 'registry-refused');
});

test('a robot shows its connection and messages, gets an asset and a token, and retires', async ({ page, api }) => {
  const robot = await until(async () => (await api.get('robots?connected=true&limit=1')).items[0], 'a robot that is connected');
  await signIn(page, `#/registry/robots/${robot.id}`);
  await expect(page.locator('section', { hasText: 'Connection' }).getByText('yes')).toHaveCount(2);
  await expect(page.getByRole('row').filter({ hasText: /heard|sent/ }).first()).toBeVisible();
  await expect(page.getByRole('row', { name: /bound/ }).first()).toBeVisible();
  await pictured(page, 'robot');
  // While it is connected its device id stays: the server's words, below the form.
  await page.getByRole('button', { name: 'Change', exact: true }).click();
  await page.getByLabel('Device id').fill('AB-OTHER-1');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('alert').first()).toContainText(/connected|tasks/);
  expect((await api.get(`robots/${robot.id}`)).device_id).toBe(robot.device_id);

  await page.goto('/#/registry/robots/new');
  await page.getByRole('combobox', { name: 'Robot type' }).selectOption(String(robot.robot_type_id));
  await page.getByRole('combobox', { name: 'Factory' }).selectOption(String(robot.factory_id));
  await page.getByLabel('Device id').fill('no spaces allowed');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByLabel('Device id')).toHaveAttribute('aria-invalid', 'true');
  await page.getByLabel('Device id').fill(`AB-CONSOLE-${unique}`);
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('heading', { level: 2, name: `AB-CONSOLE-${unique}` })).toBeVisible();
  await expect(page.locator('section', { hasText: 'Connection' }).getByText('no', { exact: true })).toHaveCount(2);

  await page.getByRole('button', { name: 'Bind asset' }).click();
  const options = page.getByRole('dialog').getByRole('listbox', { name: 'Asset' });
  const asset = (await options.locator('option').first().getAttribute('value')) ?? '';
  await options.selectOption(asset);
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.locator('dd', { hasText: asset })).toBeVisible();

  await page.getByRole('button', { name: 'New token' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByTestId('once')).toContainText('ws_client_auth_token');
  await page.getByRole('button', { name: 'I have kept it' }).click();
  await expect(page.getByTestId('once')).toHaveCount(0);

  await page.getByRole('button', { name: 'Retire' }).click();
  await page.getByLabel('Reason').fill('taken apart');
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.locator('dd', { hasText: 'retired' })).toBeVisible();
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page).toHaveURL(/#\/registry\/robots$/);
});

test('SOPs name skills in an order, robot types have templates, workstations what was made there', async ({ page, api, request }) => {
  const slugs = ['grip', 'lift'].map((slug) => `${slug}-${unique}`);
  for (const slug of slugs) await api.post('skills', { slug });
  await signIn(page, '#/registry/sops/new');
  await page.getByLabel('Slug').fill(`stack-${unique}`);
  for (const slug of slugs) await page.getByRole('combobox', { name: 'Skills, in order' }).selectOption({ label: slug });
  await page.getByRole('button', { name: 'Further up: 2' }).click();
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('heading', { level: 2, name: `stack-${unique}` })).toBeVisible();
  const sop = (await api.get(`sops?slug=stack-${unique}`)).items[0];
  const skills = await Promise.all(sop.skill_sequence.map(async (id: string) => (await api.get(`skills/${id}`)).slug));
  expect(skills).toEqual([...slugs].reverse());
  await page.goto('/#/registry/skills');
  await page.getByRole('searchbox', { name: 'Search' }).fill(slugs[0] ?? '');
  await expect(page).toHaveURL(new RegExp(`keyword=${slugs[0]}`));
  await expect(page.locator('[data-row]')).toHaveCount(1);

  const type = await api.post('robot_types', { name: 'Arm', model: `Arm ${unique}` });
  await page.goto(`/#/registry/robot_types/${type.id}`);
  await page.getByRole('button', { name: 'recorder.yaml' }).click();
  await page.getByRole('textbox', { name: 'recorder.yaml' }).fill('   ');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('alert')).toContainText('content');
  await page.getByRole('textbox', { name: 'recorder.yaml' }).fill('device: "{{ device_id }}"\n');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('Changed').first()).toBeVisible();
  await expect.poll(async () => (await request.get(`${URL_OF_SERVER}/api/v1/robot_types/${type.id}/configs/recorder.yaml`)).text()).toContain('{{ device_id }}');

  const episode = await until(async () => (await api.get('episodes?limit=1')).items[0], 'an episode');
  const station = (await api.get(`stations?device_id=${episode.robot_device_id}`)).items[0];
  await page.goto(`/#/registry/stations/${station.id}`);
  await expect(page.locator('.card', { hasText: 'Episodes' }).locator('.figure')).toHaveText(/[1-9]/);
  await expect(page.getByRole('row', { name: /bound/ })).toBeVisible();
  await pictured(page, 'station');
});
