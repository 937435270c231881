import { accessible, expect, signIn, signInByForm, test, until } from './world';

test('signing in, going somewhere by key and by link, signing out', async ({ page }) => {
  await page.goto('/');
  await accessible(page);
  await page.getByLabel('Account', { exact: true }).fill('admin');
  await page.getByLabel('Password', { exact: true }).fill('not the password');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('wrong account or password');

  await signInByForm(page, '#/orders');
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Orders');
  await page.keyboard.press('1');
  await expect(page).toHaveURL(/#\/floor$/);
  await page.keyboard.press('/');
  await page.keyboard.type('no such thing');
  await page.keyboard.press('Enter');
  await expect(page.getByText('Nothing is called “no such thing”.')).toBeVisible();
  await page.keyboard.press('Escape');
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog', { name: 'Keys' })).toBeVisible();
  await accessible(page);
  await page.keyboard.press('Escape');

  await page.reload();
  await expect(page.getByRole('navigation', { name: 'Pages' })).toBeVisible();
  await page.getByRole('button', { name: /admin/ }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.getByRole('button', { name: 'Sign in' })).toBeVisible();
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
});

test('a task and an episode are found by the ids that people carry', async ({ page, api }) => {
  const episode = await until(async () => (await api.get('episodes?limit=1')).items[0], 'an episode');
  await signIn(page);
  for (const [id, place] of [[episode.episode_id, `episodes/${episode.id}`], [episode.task_public_id, `tasks/${episode.task_id}`], [`episode ${episode.id}`, `episodes/${episode.id}`]]) {
    await page.keyboard.press('/');
    await page.keyboard.type(id);
    await page.keyboard.press('Enter');
    await expect(page).toHaveURL(new RegExp(`#/${place}$`));
  }
});

test('what stands in the way of people is found, in light and in dark', async ({ page }) => {
  await page.goto('/');
  await expect(page.getByRole('button', { name: 'Sign in' })).toBeVisible();
  await page.evaluate(() => document.body.append(document.createElement('img')));
  await expect(accessible(page)).rejects.toThrow('image-alt');
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.evaluate(() => {
    const text = document.createElement('p');
    text.textContent = 'nobody reads this';
    text.style.color = 'rgb(70, 70, 70)';
    document.querySelector('form')?.append(text);
  });
  await expect(accessible(page, ['color-contrast'])).rejects.toThrow('color-contrast');
});
