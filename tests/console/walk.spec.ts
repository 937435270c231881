// The walk of docs/console.md: who has never seen the console finds out why a given task has no episode. Each station of the walk
// is a thing that the page says, and not one that the test knows.

import { Station } from './factory';
import { expect, pictured, signIn, test, until } from './world';

test('why has this task no episode?', async ({ page, api }) => {
  await until(async () => (await api.get('orders?limit=1')).items.length > 0, 'an order');
  const station = await Station.made(api);
  const { tasks } = await station.work(3);
  const [first, second, third] = tasks as [{ id: string; task_id: string }, { id: string; task_id: string }, { id: string; task_id: string }];

  // All that one has been told is an id. One opens the console, presses `/`, and pastes it.
  await signIn(page);
  await page.keyboard.press('/');
  await page.keyboard.type(first.task_id);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(`Task #${first.id}`);

  // 1. Its robot was never there.
  const why = page.getByTestId('why');
  await expect(why.getByRole('heading')).toHaveText('Why is there no episode?');
  await expect(why).toContainText(`It was not recorded yet. The robot ${station.device} is not connected`);
  await expect(why).toContainText('switch the robot on');
  await expect(page.getByTestId('place')).toContainText('disconnected');

  // 2. One switches it on, and the page follows: it is being recorded, …
  await station.on();
  await expect(why).toContainText('It waits for its turn at the station');
  station.state('ready', 'recording', first.task_id);
  await expect(why).toContainText('It is being recorded at this moment.');
  await expect(why.getByRole('link', { name: /^#\d+$/ })).toHaveAttribute('href', /#\/log\/\d+/);
  // … its file is closed and awaited, …
  station.state('recording', 'idle');
  await expect(why).toContainText('its upload is awaited');
  // … and what the robot says to have uploaded is not there: rejected, with what was found, who found it, and what helps.
  station.uploaded(first.task_id);
  await expect(why).toContainText('Its upload was rejected', { timeout: 30_000 });
  await expect(why).toContainText('is not in the bucket');
  await expect(why).toContainText('upload_rejected');
  await expect(why).toContainText('subscriber:upload_verification');
  await expect(page.getByTestId('steps').locator('li.bad')).toContainText('Rejected');
  await expect(page.getByTestId('recording')).toContainText('object_missing');
  await expect(page.getByTestId('recording')).toContainText('upload_complete');
  await pictured(page, 'task');

  // 3. The story shows it as a tree: what the robot reported, and what came of it.
  await page.getByRole('link', { name: 'The whole story' }).click();
  const tree = page.getByTestId('tree');
  const reported = tree.locator('li', { has: page.locator('> .line > code', { hasText: /^upload_reported$/ }) }).last();
  await expect(reported.locator('ul code', { hasText: /^upload_rejected$/ })).toBeVisible();
  await page.getByRole('link', { name: 'To its page' }).click();

  // 4. Nothing more will come: one ends the task, and those who ask later read who did it and why.
  await page.getByRole('button', { name: 'End task' }).click();
  const form = page.getByRole('dialog', { name: 'End task' });
  await form.getByLabel('Reason').fill('the disk of the robot is broken');
  await form.getByRole('button', { name: 'Confirm' }).click();
  await expect(why).toContainText('It was ended by user:admin: the disk of the robot is broken');
  await expect(why).toContainText('task_failed_by_person');
  await expect(page.getByTestId('steps').locator('li', { hasText: 'Failed' })).toBeVisible();
  station.off();

  // The other two ways in which it ends without one.
  await page.goto(`/#/tasks/${second.id}`);
  await expect(why).toContainText('is not connected');
  await expect(why).toContainText('device_link_closed');
  await page.getByRole('button', { name: 'End task' }).click();
  await page.getByRole('dialog').getByLabel('Reason').fill('not wanted any more');
  await page.getByRole('dialog').getByRole('button', { name: 'Confirm' }).click();
  await expect(why).toContainText('It was ended by user:admin: not wanted any more');
  await page.goto(`/#/tasks/${third.id}`);
  const batch = (await api.get(`tasks/${third.id}`)).batch_id;
  await api.ask('PATCH', `batches/${batch}`, { status: 'cancelled' });
  await expect(why).toContainText('It was cancelled before anything of it was recorded.');
  await expect(why).toContainText('batch_cancelled');
});

test('what has an episode says so, and a delivery that was given up is found from its task', async ({ page, api }) => {
  const episode = await until(async () => (await api.get('episodes?limit=1')).items[0], 'an episode');
  const task = { id: String(episode.task_id) };
  const letter = { id: '7', attempts: 12, destination: null, died_at: new Date().toISOString(), event_id: `task/${task.id}/6`, event_type: 'upload_reported', holds_stream: false, last_error: 'the store does not answer', notification_failed: false, queued_at: new Date().toISOString(), reason: 'attempts_used_up', replays: 0, resolution: 'unresolved', resolved_at: null, resolved_because: null, stream: `task/${task.id}`, subscriber: 'upload_verification' };
  await signIn(page, `#/tasks/${task.id}`);
  await expect(page.getByTestId('why')).toContainText('Its recording was verified, and is an episode.');
  await expect(page.getByTestId('why').getByRole('link', { name: /^Episode #\d+$/ })).toHaveAttribute('href', /#\/episodes\/\d+/);
  await expect(page.getByTestId('steps').locator('li.done')).toHaveCount(7);

  // The same task, as it would be if verifying it had been given up.
  await page.route(`**/api/v1/tasks/${task.id}`, async (route) => {
    const seen = await (await route.fetch()).json();
    await route.fulfill({ json: { ...seen, status: 'uploading', episode: null, ended_at: null, completed_at: null } });
  });
  await page.route('**/api/v1/dead-letters?*', (route) => route.fulfill({ json: { items: [letter], total: 1, limit: 10, offset: 0 } }));
  await page.reload();
  await expect(page.locator('[data-answer="died"]')).toContainText('the store does not answer');
  await expect(page.getByTestId('letters')).toContainText('upload_verification');
});
