import { expect, pictured, signIn, test, until, type Api } from './world';

/** Enough that something can be counted. */
async function judged(api: Api, count: number): Promise<void> {
  await until(async () => ((await api.get('episodes?qa_status=approved&limit=1')) as { total: number }).total >= count, `${count} approved episodes`, 80);
}

test('rates are shown over time and by what episodes have in common', async ({ page, api }) => {
  await judged(api, 1);
  await signIn(page, '#/quality');
  await expect(page.locator('.card', { hasText: 'Passed' }).first()).toContainText('%', { timeout: 30_000 });
  await expect(page.locator('.chart canvas')).toBeVisible();
  await page.getByText('The same as a table').click();
  await expect(page.locator('details tbody tr').first()).toContainText(/\d %/);
  await page.getByText('The same as a table').click();

  await page.getByLabel(/^By/).selectOption('robot');
  await expect(page).toHaveURL(/dimension=robot/);
  const robot = page.locator('tr[data-row]').first();
  await expect(robot.getByRole('link')).toBeVisible();
  await pictured(page, 'quality');
  await robot.getByRole('button', { name: 'Look at these alone' }).click();
  await expect(page).toHaveURL(/robot_device_id=/);
  await expect(page.locator('.chart canvas')).toBeVisible();
  await page.locator('tr[data-row]').first().getByRole('link').click();
  await expect(page).toHaveURL(/#\/episodes\?robot_device_id=/);
  await expect(page.locator('tbody tr').first()).toBeVisible();

  await page.goto('/#/quality?span=own&from=2001-01-01T00:00:00Z&to=2001-01-02T00:00:00Z');
  await expect(page.getByText('In this window no episode was judged.')).toBeVisible();
});

test('gaps, inspectors, ranking and drift have pages of their own', async ({ page, api }) => {
  await judged(api, 1);
  await signIn(page, '#/quality/gaps');
  await expect(page.getByText('No message is missing in any recording of this window.')).toBeVisible();
  await expect(page.getByText('No gap is like this.')).toBeVisible();
  await pictured(page, 'quality-gaps');
  await page.getByRole('link', { name: 'Inspectors' }).click();
  await expect(page.getByText('No episode was decided by two inspectors yet.')).toBeVisible();
  await page.getByRole('link', { name: 'Where to look first' }).click();
  await expect(page.getByText(/episodes were compared/)).toBeVisible();
  await expect(page.getByText('There is no reference yet.', { exact: false })).toBeVisible();
  await pictured(page, 'quality-unusual');
  await page.getByRole('button', { name: 'Make a reference of this SOP…' }).click();
  await page.getByLabel('Reason').fill('the first good ones');
  await page.getByRole('button', { name: 'Confirm' }).click();
  // Twenty are needed, and the server says how many there are.
  await expect(page.getByRole('alert').or(page.getByRole('cell', { name: 'the first good ones' }))).toBeVisible();
});

test('a suite is drafted beside what would flip, activated, applied and retired', async ({ page, api }) => {
  await judged(api, 2);
  await signIn(page, '#/quality/suites');
  await expect(page.getByText('shipped: judges where no other one does')).toBeVisible();
  await page.getByRole('link', { name: 'default' }).click();
  await expect(page.getByTestId('what-if')).toContainText(/of \d+ verdicts would be/);
  await page.getByRole('button', { name: 'Draft another version…' }).click();
  await page.getByLabel('Name', { exact: true }).fill('longer');
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByRole('heading', { name: /Suite longer, version \d+/ })).toBeVisible();
  await expect(page).not.toHaveURL(/default/);

  // A rule that cannot be meant is refused in the server's words, and nothing flips for it.
  await page.getByLabel('max_gap: fail_ms').fill('1');
  await expect(page.getByRole('alert')).toContainText('suite_unfit');
  await page.getByLabel('max_gap: fail_ms').fill('1000');
  await expect(page.getByTestId('draft-state')).toHaveText('Saved in the draft.');
  await expect(page.getByRole('alert')).toHaveCount(0);

  await page.getByLabel('Part', { exact: false }).first().selectOption('duration');
  await expect(page.getByLabel('max_gap: fail_ms')).toHaveCount(0);
  await page.getByLabel('duration: min_s').fill('500');
  await expect(page.getByTestId('what-if')).toContainText(/(\d+) of \d+ verdicts would be other ones/);
  await expect(page.getByTestId('what-if')).toContainText('needs inspection');
  await pictured(page, 'suite');
  const id = /suites\/(\d+)/.exec(page.url())?.[1] ?? '';
  const stored = (await api.get(`qa/suites/${id}`)) as { checks: { name: string; limits: Record<string, number> }[] };
  expect(stored.checks.find((check) => check.name === 'duration')?.limits.min_s).toBe(500);

  await page.getByRole('button', { name: 'Activate…' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByRole('button', { name: 'Retire…' })).toBeVisible();
  await expect(page.getByLabel('duration: min_s')).toHaveCount(0);
  await page.getByText('Apply to what was judged before').click();
  await page.getByLabel('Of episodes that are').selectOption('approved');
  await page.getByRole('button', { name: 'Look how many' }).click();
  await page.getByRole('button', { name: /^Judge \d+ episodes$/ }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  // One that was approved in between makes the number another one: then the server says so, and one looks again.
  const run = page.getByTestId('bulk-run');
  await expect(run.or(page.getByRole('alert'))).toBeVisible();
  if (await page.getByRole('alert').isVisible()) {
    await page.getByRole('button', { name: 'Cancel', exact: true }).click();
    await page.getByRole('button', { name: 'Look how many' }).click();
    await page.getByRole('button', { name: /^Judge \d+ episodes$/ }).click();
    await page.getByRole('button', { name: 'Confirm' }).click();
  }
  await expect(run).toContainText('completed');
  await expect(run).toContainText('did not pass');

  await page.getByRole('button', { name: 'Retire…' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(page.getByRole('heading', { level: 2 }).first()).toContainText('retired');
  // What needs a person since then waits for one, and says why.
  await page.goto('/#/quality');
  await expect(page.locator('.card', { hasText: 'Waits for an inspector' })).toContainText(/\d+ failures/, { timeout: 30_000 });
});

test('an inspector reads quality and sees no suites; an auditor sees them and no levers', async ({ page, api }) => {
  const password = 'a password of one’s own';
  const organization = ((await api.get('organizations?limit=1')) as { items: { id: string }[] }).items[0]?.id;
  await api.post('inspectors', { organization_id: organization, name: 'Reader', inspector_id: 'reader', password });
  await signIn(page, '#/quality/unusual', 'reader', password);
  await expect(page.getByRole('heading', { name: 'Most unusual episodes' })).toBeVisible();
  await expect(page.getByRole('link', { name: 'Suites' })).toHaveCount(0);
  await expect(page.getByRole('button', { name: 'Make a reference of this SOP…' })).toHaveCount(0);

  await api.post('accounts', { login_name: 'quality-auditor', name: 'Auditor', role: 'auditor', password });
  await signIn(page, '#/quality/suites/default', 'quality-auditor', password);
  await expect(page.getByTestId('what-if')).toContainText('verdicts');
  await expect(page.getByRole('button', { name: 'Draft another version…' })).toHaveCount(0);
});
