// Orders, batches, tasks and stories: where is my work, what stands in its way, and what can be done about it.

import { randomBytes } from 'node:crypto';

import { Station } from './factory';
import { expect, pictured, signIn, test, until, type Api } from './world';

/** An account of a role, as the administrator makes it. */
async function account(api: Api, role: string): Promise<{ name: string; password: string }> {
  const word = randomBytes(4).toString('hex');
  const made = { name: `${role}-${word}`, password: `a password ${word}` };
  await api.post('accounts', { login_name: made.name, name: made.name, password: made.password, role, whole_site: true });
  return made;
}

const orders = (api: Api) => until(async () => (await api.get('orders?limit=1')).items.length > 0, 'an order');

test('an order is placed, given to a station, and adjusted; what stands in its way is said', async ({ page, api }) => {
  await orders(api);
  const station = await Station.made(api);
  const like = (await api.get('orders?limit=1')).items[0];
  const place = await api.get(`stations/${station.id}`);
  await signIn(page, '#/orders');
  await expect(page.getByTestId('orders').locator('tbody tr').first()).toBeVisible();
  await pictured(page, 'orders');

  const name = `Cups ${randomBytes(3).toString('hex')}`;
  await page.getByRole('button', { name: 'New order' }).click();
  const form = page.getByRole('dialog', { name: 'New order' });
  await form.getByLabel('Name').fill(name);
  await form.getByLabel('Organization').selectOption(station.organization);
  await form.getByLabel('Scene').selectOption(like.scene_id);
  await form.getByLabel('Recordings wanted').fill('3');
  await form.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(name);
  await expect(page.locator('[data-finding="undispatched"]')).toContainText('3 of the wanted recordings');

  await page.getByRole('button', { name: 'Give to a station' }).click();
  const give = page.getByRole('dialog', { name: 'Give to a station' });
  await give.getByLabel('Station').selectOption(station.id);
  await give.getByLabel('SOP').selectOption({ index: 1 });
  await give.getByLabel('Subscene').selectOption({ index: 1 });
  await give.getByLabel('How many').fill('4');
  await give.getByRole('button', { name: 'Confirm' }).click();
  // More than were ordered: the server says what there is place for.
  await expect(give.getByRole('alert')).toContainText('quota_exceeded');
  await give.getByLabel('How many').fill('3');
  await give.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(/^Batch #\d+$/);
  await expect(page.locator('[data-state="pending"]')).toContainText('3');
  await expect(page.locator('[data-finding="disconnected"]')).toContainText(`The robot ${station.device} is not connected`);
  await expect(page.getByTestId('place')).toContainText(place.name);
  await pictured(page, 'batch');

  await page.getByRole('button', { name: 'Adjust' }).click();
  const adjust = page.getByRole('dialog', { name: 'Adjust' });
  await adjust.getByLabel('SOP').selectOption({ index: 1 });
  await adjust.getByLabel('Subscene').selectOption({ index: 1 });
  await adjust.getByLabel('How many there are to be').fill('2');
  await adjust.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByTestId('tasks').locator('tbody tr')).toHaveCount(2);

});

test('an order is paused, resumed and cancelled; what may not be is refused with the reason', async ({ page, api }) => {
  await orders(api);
  const station = await Station.made(api);
  const { order, name } = await station.work(2);
  await signIn(page, `#/orders/${order}`);
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Confirm' }).click();
  const paused = page.locator('[data-finding="paused"]');
  await expect(paused).toContainText('order_paused');
  await expect(paused).toContainText('user:admin');
  await expect(paused.getByRole('link', { name: /^#\d+$/ })).toHaveAttribute('href', /#\/log\/\d+/);
  await page.getByTestId('batches').getByRole('link', { name: /^Batch/ }).click();
  await expect(page.locator('[data-finding="orderPaused"]')).toContainText('order_paused');
  await page.getByRole('link', { name }).click();
  await page.getByRole('button', { name: 'Resume' }).click();
  await expect(paused).toBeHidden();

  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByRole('dialog').getByRole('alert')).toContainText(/order_/);
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Cancel order' }).click();
  await expect(page.getByRole('dialog')).toContainText('of its 2 open tasks');
  await page.getByRole('dialog').getByRole('button', { name: 'Confirm' }).click();
  await expect(page.locator('[data-finding="cancelled"]')).toContainText('order_cancelled');
  await pictured(page, 'order');
  // Lists move by themselves, and their filters are links.
  await page.goto(`/#/orders?keyword=${encodeURIComponent(name)}&status=cancelled`);
  await expect(page.getByTestId('orders').locator('tbody tr')).toHaveCount(1);
  await page.getByLabel('State').selectOption('paused');
  await expect(page.getByText('Nothing is like that.')).toBeVisible();
  await expect(page).toHaveURL(/status=paused/);
});

test('the story of a task: on an axis, as a tree of causes, as a list', async ({ page, api }) => {
  const task = await until(async () => (await api.get('tasks?status=completed&limit=1')).items[0], 'a completed task');
  await signIn(page, `#/story/task/${task.id}`);
  const axis = page.getByTestId('axis');
  await expect(axis.locator('circle').first()).toBeVisible();
  await expect(axis).toContainText(`task/${task.id}`);
  await expect(axis).toContainText(`batch/${task.batch_id}`);
  expect(await axis.locator('path').count()).toBeGreaterThan(0);
  const tree = page.getByTestId('tree');
  // What the device reported led to the verification, and that to the episode.
  const reported = tree.locator('li', { has: page.locator('> .line > code', { hasText: /^upload_reported$/ }) }).last();
  await expect(reported.locator('ul code', { hasText: /^upload_verified$/ })).toBeVisible();
  await expect(reported.locator('ul code', { hasText: /^episode_created$/ })).toBeVisible();
  await expect(tree.locator('li', { has: page.locator('> .line > code', { hasText: /^device_command_requested$/ }) }).first().locator('ul code').first()).toHaveText('device_command_settled');
  await pictured(page, 'story');
  await page.getByRole('button', { name: 'List' }).click();
  await expect(page).toHaveURL(/view=list/);
  const created = page.getByTestId('events').locator('tr', { hasText: 'task_created' });
  await expect(created).toContainText('user:admin');
  await page.goto('/#/story/task/99999999');
  await expect(page.getByText('Nothing happened to task/99999999')).toBeVisible();
});

test('a manager has the levers and not the log; an auditor has the log and no levers', async ({ page, api }) => {
  await orders(api);
  const station = await Station.made(api);
  const { order, tasks } = await station.work(1);
  const manager = await account(api, 'production_manager');
  const refused: string[] = [];
  page.on('response', (answer) => {
    if (answer.status() === 403) refused.push(answer.url());
  });
  await signIn(page, `#/tasks/${tasks[0]!.id}`, manager.name, manager.password);
  await expect(page.getByTestId('why')).toContainText('is not connected');
  await expect(page.getByText('Your role may not read the log').first()).toBeVisible();
  await expect(page.getByRole('button', { name: 'End task' })).toBeVisible();
  await page.goto(`/#/story/task/${tasks[0]!.id}`);
  await expect(page.getByText('Your role may not read the log').first()).toBeVisible();
  // Pages move without the log, too.
  await page.goto(`/#/orders/${order}`);
  await expect(page.getByRole('button', { name: 'Pause' })).toBeVisible();
  await api.ask('PUT', `orders/${order}`, { status: 'paused' });
  await expect(page.locator('[data-finding="paused"]')).toBeVisible();
  expect(refused).toEqual([]);

  const auditor = await account(api, 'auditor');
  await signIn(page, `#/tasks/${tasks[0]!.id}`, auditor.name, auditor.password);
  await expect(page.getByTestId('why')).toBeVisible();
  await expect(page.getByTestId('task-actions').getByRole('button')).toHaveCount(0);
  await page.goto(`/#/orders/${order}`);
  await expect(page.locator('[data-finding="paused"]')).toContainText('order_paused');
  await expect(page.getByTestId('order-actions').getByRole('button')).toHaveCount(0);
  expect(refused).toEqual([]);
});

test('a collector completes tasks that were done with other equipment; a recalled batch says so', async ({ page, api }) => {
  await orders(api);
  const station = await Station.made(api);
  const { batch, tasks, sop, subscene } = await station.work(2);
  await signIn(page, `#/batches/${batch}`, station.collector, station.password);
  await page.getByRole('button', { name: 'Complete tasks' }).click();
  const form = page.getByRole('dialog', { name: 'Complete tasks' });
  await form.getByLabel('SOP').selectOption(sop);
  await form.getByLabel('Subscene').selectOption(subscene);
  await form.getByLabel('How many').fill('1');
  await form.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.locator('[data-state="completed"]').first()).toContainText('1');
  await expect(page.getByRole('button', { name: 'Recall' })).toHaveCount(0);

  await signIn(page, `#/tasks/${tasks[0]!.id}`);
  await expect(page.locator('[data-answer="byHand"]')).toContainText('task_completed_externally');
  await page.goto(`/#/batches/${batch}`);
  await page.getByRole('button', { name: 'Recall' }).click();
  await page.getByRole('dialog').getByLabel('Reason').fill('the wrong cups');
  await page.getByRole('dialog').getByRole('button', { name: 'Confirm' }).click();
  await expect(page.locator('[data-finding="recalled"]')).toContainText('batch_recalled');
  await page.goto(`/#/tasks/${tasks[1]!.id}`);
  await expect(page.locator('[data-answer="cancelled"]')).toContainText('batch_recalled');
});
