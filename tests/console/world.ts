// What every test of the console needs: a login, the API beside the browser, and what holds on each page.

import AxeBuilder from '@axe-core/playwright';
import { expect, test as base, type APIRequestContext, type Page } from '@playwright/test';

export const URL_OF_SERVER = process.env.KEYSTONE_URL ?? 'http://127.0.0.1:8080';
const PASSWORD = process.env.KEYSTONE_PASSWORD ?? '';

/** The interface, as the administrator asks it. */
export class Api {
  constructor(
    private readonly request: APIRequestContext,
    readonly token: string,
  ) {}

  static async signedIn(request: APIRequestContext, username = 'admin', password = PASSWORD): Promise<Api> {
    const answer = await request.post(`${URL_OF_SERVER}/api/v1/auth/login`, { data: { username, password } });
    expect(answer.status(), await answer.text()).toBe(200);
    return new Api(request, ((await answer.json()) as { access_token: string }).access_token);
  }

  // Answers are read by tests that know them; their shapes are held by tests of the interface.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  async ask(method: string, path: string, data?: unknown): Promise<any> {
    const headers = { authorization: `Bearer ${this.token}` };
    const answer = await this.request.fetch(`${URL_OF_SERVER}/api/v1/${path}`, { method, headers, data });
    const text = await answer.text();
    expect(answer.ok(), `${method} ${path}: ${answer.status()} ${text}`).toBe(true);
    return text ? JSON.parse(text) : undefined;
  }

  get(path: string) {
    return this.ask('GET', path);
  }

  post(path: string, data?: unknown) {
    return this.ask('POST', path, data);
  }
}

/** Requests that left the host, and complaints of the browser: both have to be none at the end of each test. */
export const test = base.extend<{ api: Api; watched: void }>({
  api: async ({ playwright }, use) => {
    const request = await playwright.request.newContext();
    await use(await Api.signedIn(request));
    await request.dispose();
  },
  watched: [
    async ({ page }, use) => {
      const foreign: string[] = [];
      const complaints: string[] = [];
      page.on('request', (request) => {
        const url = new URL(request.url());
        if (url.protocol.startsWith('http') && url.origin !== new URL(URL_OF_SERVER).origin) foreign.push(request.url());
      });
      page.on('pageerror', (error) => complaints.push(String(error)));
      page.on('console', (message) => {
        if (/Content.Security.Policy/i.test(message.text())) complaints.push(message.text());
      });
      await use();
      expect(foreign, 'requests that left the host').toEqual([]);
      expect(complaints, 'errors in the page').toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

/** Signs in as people do, at a place such as `#/orders/1`. */
export async function signInByForm(page: Page, place = '', username = 'admin', password = PASSWORD): Promise<void> {
  await page.goto(`/${place}`);
  await page.getByLabel('Account', { exact: true }).fill(username);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('navigation', { name: 'Pages' })).toBeVisible();
}

/** Opens the console with a login, where its form is not what is looked at. */
export async function signIn(page: Page, place = '', username = 'admin', password = PASSWORD): Promise<void> {
  const { token } = await Api.signedIn(page.request, username, password);
  // Any address of the server will do, to put the token where this tab keeps it.
  await page.goto('/api/v1/health');
  await page.evaluate((kept) => sessionStorage.setItem('keystone.token', kept), token);
  await page.goto(`/${place}`);
  await expect(page.getByRole('navigation', { name: 'Pages' })).toBeVisible();
}

/** Nothing on the page stands in the way of people who do not see, or use no mouse. `rules` are all there are where none is named. */
export async function accessible(page: Page, rules: string[] = []): Promise<void> {
  // There are no frames of other hosts, for which another page would be opened each time.
  const axe = new AxeBuilder({ page }).setLegacyMode().options({ resultTypes: ['violations'] });
  const found = await (rules.length > 0 ? axe.withRules(rules) : axe).analyze();
  const said = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 200)).join('\n   ')}`);
  expect(said, said.join('\n')).toEqual([]);
}

/** The page, light and dark, into `docs/console` where `KEYSTONE_SCREENSHOTS` names that folder. Between the two only colours differ. */
export async function pictured(page: Page, name: string): Promise<void> {
  const folder = process.env.KEYSTONE_SCREENSHOTS;
  for (const scheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme: scheme });
    await accessible(page, scheme === 'dark' ? ['color-contrast'] : []);
    if (folder) await page.screenshot({ path: `${folder}/${name}-${scheme}.png` });
  }
  await page.emulateMedia({ colorScheme: 'light' });
}

export async function until<T>(ask: () => Promise<T | undefined | false>, what: string, seconds = 60): Promise<T> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((wake) => setTimeout(wake, 250));
  }
}
