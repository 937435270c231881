// What did not arrive, and what an operator does about it. The receiver runs here, on loopback, so the server needs
// KEYSTONE_WEBHOOKS_ALLOW_PRIVATE=127.0.0.1.

import { createHmac } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { Page } from '@playwright/test';

import { accessible, Api, expect, pictured, signIn, test, until } from './world';

// Names of accounts are taken once; by hand the tests run against a server again and again.
const RUN = Date.now().toString(36);

interface Told {
  id: string;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

/** A receiver that a test breaks and repairs. */
class Receiver {
  broken = false;
  readonly told: Told[] = [];
  #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => (body += chunk));
      request.on('end', () => {
        if (!this.broken) this.told.push({ id: String(request.headers['webhook-id']), headers: request.headers, body });
        response.statusCode = this.broken ? 500 : 204;
        response.end(this.broken ? 'the disk <b>is full</b>' : '');
      });
    });
  }

  async open(): Promise<string> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/hook?key=secret-of-the-path`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

let receiver: Receiver;
let url: string;
/** Made by the first test, in the browser; the later ones go on with it. */
let webhook = '';

test.describe.configure({ mode: 'serial' });
test.beforeAll(async () => {
  receiver = new Receiver();
  url = await receiver.open();
});
test.afterAll(() => receiver.close());

/** Markup, a mark that turns the direction of writing, and a word that is wider than any column. */
const HOSTILE = `<img src=x onerror=alert(1)> \u202Eesrever ${'W'.repeat(200)}`;

/** Nothing stands out of the page to the right, on a desk and on a tablet. */
async function fits(page: Page): Promise<void> {
  for (const width of [768, 1280]) {
    await page.setViewportSize({ width, height: 800 });
    expect(await page.evaluate(() => document.documentElement.scrollWidth), `at ${width}`).toBeLessThanOrEqual(width);
  }
}

const badge = (page: Page) => page.getByTestId('dead-letters');
const heading = (page: Page) => page.getByRole('heading', { level: 2, name: /^(Webhook|Dead letter) \d/ });
const letters = (page: Page) => page.getByTestId('letter');

/** So many events that this webhook only is told of. */
async function tell(api: Api, times: number): Promise<void> {
  for (let i = 0; i < times; i += 1) await api.post(`subscriptions/${webhook}/test`);
}

test('a webhook is made, its secret is shown once and signs what it is told, and it is changed', async ({ page }) => {
  await signIn(page, '#/deliveries/webhooks');
  await page.getByRole('button', { name: 'Add a webhook' }).click();
  const form = page.getByRole('dialog', { name: 'Add a webhook' });
  await form.getByLabel('URL').fill('https://user:password@receiver.example/hook');
  await form.getByLabel('Types of events').fill('config_template_*, skill_*');
  await form.getByLabel('What it is for').fill(HOSTILE);
  await form.getByText('How it is delivered').click();
  await form.getByLabel('Attempts at most').fill('2');
  await form.getByLabel('First wait, ms').fill('100');
  await form.getByLabel('Longest wait, ms').fill('100');
  await form.getByLabel('Waits by chance').selectOption('none');
  await accessible(page);
  // A login in a URL: refused, in the server's words.
  await form.getByRole('button', { name: 'Save' }).click();
  await expect(form.getByRole('alert')).toBeVisible();
  await form.getByLabel('URL').fill(url);
  await form.getByRole('button', { name: 'Save' }).click();

  const shown = page.getByRole('status', { name: 'The secret of this webhook' });
  const secret = (await shown.getByText(/^whsec_/).innerText()).trim();
  await shown.getByRole('button', { name: 'I have it' }).click();
  const row = page.locator('tr[data-row]').first();
  webhook = (await row.getByRole('link').innerText()).trim();
  await expect(row).toContainText('<img src=x onerror=alert(1)>');
  await fits(page);
  await pictured(page, 'webhooks');

  await row.getByRole('link').click();
  await page.getByRole('button', { name: 'Test', exact: true }).click();
  await expect(page.getByTestId('delivery').first()).toContainText('delivered');
  const told = receiver.told[0];
  if (!told) throw new Error('the receiver was told nothing');
  const signed = createHmac('sha256', Buffer.from(secret.slice('whsec_'.length), 'base64')).update(`${told.id}.${told.headers['webhook-timestamp']}.${told.body}`).digest('base64');
  expect(String(told.headers['webhook-signature']).split(' ')).toContain(`v1,${signed}`);
  await page.reload();
  await expect(page.getByTestId('delivery').first()).toBeVisible();
  await expect(page.getByText(secret)).toHaveCount(0);
  await expect(page.getByText('secret-of-the-path')).toHaveCount(0);

  await page.getByRole('button', { name: 'Change' }).click();
  const change = page.getByRole('dialog', { name: 'Change' });
  await change.getByLabel('Types of events').fill('skill_*');
  await change.getByRole('button', { name: 'Save' }).click();
  await expect(page.locator('dd', { hasText: /^skill_\*$/ })).toBeVisible();

  await fits(page);
  await pictured(page, 'webhook');
  await page.getByRole('button', { name: 'New secret' }).click();
  await page.getByRole('dialog', { name: 'New secret' }).getByRole('button', { name: 'Confirm' }).click();
  await expect(shown.getByText(/^whsec_/)).not.toHaveText(secret);
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('dialog', { name: 'Pause' }).getByRole('button', { name: 'Confirm' }).click();
  await expect(heading(page)).toContainText('paused');
  await page.getByRole('button', { name: 'Resume' }).click();
  await expect(heading(page)).toContainText('active');
});

test('a receiver breaks: letters and their badge appear; it is repaired, one is replayed, and the others all at once', async ({ page, api }) => {
  receiver.broken = true;
  await signIn(page, '#/deliveries');
  await expect(badge(page)).toHaveCount(0);
  await tell(api, 4);
  // Nobody reloads: the badge and the figures come by themselves.
  await expect(badge(page)).toContainText('4 unresolved dead letters');
  await expect(page.getByTestId('unresolved')).toHaveText('4');
  const destination = page.locator('tr[data-row]', { hasText: `webhook:${webhook}` });
  await expect(destination).toContainText('failing');
  await expect(destination).toContainText('500');
  await pictured(page, 'deliveries');

  await badge(page).click();
  await page.getByRole('navigation', { name: 'Views of deliveries' }).getByRole('link', { name: 'Dead letters' }).click();
  await expect(letters(page)).toHaveCount(4);
  await page.getByLabel('Reason').selectOption('expired');
  await expect(page).toHaveURL(/reason=expired/);
  await expect(letters(page)).toHaveCount(0);
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await expect(letters(page)).toHaveCount(4);
  await pictured(page, 'letters');

  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await expect(page.getByTestId('attempt')).toHaveCount(2);
  await expect(page.getByTestId('attempt').first()).toContainText('500');
  await expect(page.getByText('subscription_test_requested').first()).toBeVisible();
  await pictured(page, 'letter');

  receiver.broken = false;
  const before = receiver.told.length;
  await page.getByRole('button', { name: 'Replay', exact: true }).click();
  await page.getByRole('dialog', { name: 'Replay' }).getByRole('button', { name: 'Confirm' }).click();
  await expect(heading(page)).toContainText('replayed');
  await expect(badge(page)).toContainText('3 unresolved dead letters');

  await page.goto('/#/deliveries/letters');
  await expect(letters(page)).toHaveCount(3);
  await page.getByRole('button', { name: 'Replay all that match' }).click();
  const preview = page.getByRole('dialog', { name: 'What would be replayed' });
  await expect(preview.getByTestId('preview')).toHaveText('3 unresolved letters');
  await accessible(page);
  await preview.getByRole('button', { name: 'Replay them' }).click();
  await expect(page).toHaveURL(/run=/);
  await expect(page.getByTestId('bulk-run')).toContainText('completed');
  await expect(page.getByTestId('bulk-run')).toContainText('3 of 3 worked on');
  await expect(letters(page)).toHaveCount(0);
  await expect(page.getByText('Nothing is unresolved.')).toBeVisible();
  await expect(badge(page)).toHaveCount(0);
  await until(async () => receiver.told.length === before + 4, 'the receiver was told of all four');

  await page.goto('/#/deliveries/runs');
  await page.locator('tr[data-row]').first().getByRole('link').click();
  await expect(page.getByRole('heading', { name: 'What became of each' })).toBeVisible();
  await expect(page.locator('tr[data-row]')).toHaveCount(3);
  await accessible(page);
});

test('letters that nobody needs are resolved with a reason; one of a webhook that has ended is not replayed', async ({ page, api }) => {
  receiver.broken = true;
  await tell(api, 4);
  await signIn(page, '#/deliveries/letters');
  await expect(letters(page)).toHaveCount(4);
  // Two that were chosen, then the others by the filter.
  await letters(page).nth(0).getByRole('checkbox').check();
  await letters(page).nth(1).getByRole('checkbox').check();
  await page.getByRole('button', { name: 'Resolve 2' }).click();
  const some = page.getByRole('dialog', { name: 'Resolve 2' });
  await some.getByLabel('Reason').fill('told by telephone');
  await some.getByRole('button', { name: 'Confirm' }).click();
  await expect(letters(page)).toHaveCount(2);

  await page.goto(`/#/deliveries/webhooks/${webhook}`);
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await page.getByRole('dialog', { name: 'End' }).getByRole('button', { name: 'Confirm' }).click();
  await expect(heading(page)).toContainText('ended');
  await page.goto('/#/deliveries/letters');
  await letters(page).first().getByRole('link').first().click();
  await page.getByRole('button', { name: 'Replay', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Replay' });
  await dialog.getByRole('button', { name: 'Confirm' }).click();
  await expect(dialog.getByRole('alert')).toContainText('subscription_ended');
  await dialog.getByRole('button', { name: 'Cancel' }).click();

  await page.goto('/#/deliveries/letters');
  await page.getByRole('button', { name: 'Resolve all that match' }).click();
  const all = page.getByRole('dialog', { name: 'Resolve all that match' });
  await expect(all.getByTestId('preview')).toContainText('2 unresolved letters match');
  await all.getByLabel('Reason').fill('the program is gone');
  await all.getByRole('button', { name: 'Resolve' }).click();
  await expect(page.getByTestId('steps')).toContainText('2 of 2 done');
  await expect(letters(page)).toHaveCount(0);
  await expect(badge(page)).toHaveCount(0);
  await page.getByLabel('Resolution').selectOption('resolved');
  await page.getByLabel('Destination').fill(`webhook:${webhook}`);
  await page.getByLabel('Destination').press('Tab');
  await expect(letters(page)).toHaveCount(4);
  await letters(page).first().getByRole('link').first().click();
  await expect(page.getByText('Resolved because')).toBeVisible();
});

test('an auditor sees all of it and has no levers; a production manager does not see it', async ({ page, api }) => {
  await api.post('accounts', { login_name: `deliveries-auditor-${RUN}`, name: 'Auditor', password: 'auditor-password', role: 'auditor', whole_site: true });
  await api.post('accounts', { login_name: `deliveries-manager-${RUN}`, name: 'Manager', password: 'manager-password', role: 'production_manager', whole_site: true });
  await signIn(page, '#/deliveries/letters?resolution=all', `deliveries-auditor-${RUN}`, 'auditor-password');
  await expect(letters(page).first()).toBeVisible();
  await expect(page.getByRole('button', { name: /Replay|Resolve/ })).toHaveCount(0);
  await letters(page).first().getByRole('link').first().click();
  await expect(page.getByTestId('attempt').first()).toBeVisible();
  await page.goto(`/#/deliveries/webhooks/${webhook}`);
  await expect(page.getByTestId('delivery').first()).toBeVisible();
  await expect(page.getByRole('button', { name: /Test|Change|Pause|End|Deliver again/ })).toHaveCount(0);

  await signIn(page, '#/deliveries', `deliveries-manager-${RUN}`, 'manager-password');
  await expect(page.getByText('Your role does not open this page.')).toBeVisible();
  await expect(page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Deliveries' })).toHaveCount(0);
});
