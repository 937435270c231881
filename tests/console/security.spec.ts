import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { expect, signIn, signInByForm, test, URL_OF_SERVER } from './world';

/** Another site, on an origin of its own. */
async function elsewhere(html: string): Promise<{ url: string; server: Server }> {
  const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end(html));
  await new Promise<void>((open) => server.listen(0, '127.0.0.1', open));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server };
}

/** Vite serves the sources without the headers of the program. */
async function built(request: { get: (url: string, options: object) => Promise<{ text: () => Promise<string> }> }): Promise<boolean> {
  return !(await (await request.get(`${URL_OF_SERVER}/`, { headers: { accept: 'text/html' } })).text()).includes('/@vite/client');
}

test('the page takes nothing from elsewhere, and runs nothing that stands in it', async ({ request, browser }) => {
  test.skip(!(await built(request)), 'only the program sends the headers');
  const answer = await request.get(`${URL_OF_SERVER}/`, { headers: { accept: 'text/html' } });
  const policy = answer.headers()['content-security-policy'] ?? '';
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).not.toContain('unsafe-');
  expect(policy).not.toMatch(/https?:|\*|data:/);
  expect(answer.headers()['x-content-type-options']).toBe('nosniff');
  expect(answer.headers()['referrer-policy']).toBe('no-referrer');
  // And the browser holds the page to it. It complains, so this is no page that is watched for complaints.
  const page = await (await browser.newContext({ baseURL: URL_OF_SERVER, locale: 'en' })).newPage();
  await page.goto('/');
  await expect(page.getByRole('button', { name: 'Sign in' })).toBeVisible();
  const ran = await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'window.ran = true';
    document.body.append(script);
    return 'ran' in window;
  });
  expect(ran).toBe(false);
  await page.context().close();
});

test('no other site frames the console', async ({ browser, request }) => {
  test.skip(!(await built(request)), 'only the program sends the headers');
  const site = await elsewhere(`<iframe name="console" src="${URL_OF_SERVER}/"></iframe><iframe name="open" src="${URL_OF_SERVER}/api/v1/health"></iframe>`);
  const page = await (await browser.newContext()).newPage();
  await page.goto(site.url);
  // What may be framed is there: the frames themselves work.
  await expect(page.frameLocator('iframe[name="open"]').locator('body')).not.toBeEmpty();
  const framed = page.frame('console');
  await expect.poll(() => framed?.url()).toMatch(/^chrome-error:/);
  expect(await framed?.locator('#app').count()).toBe(0);
  await page.context().close();
  site.server.close();
});

test('another site changes nothing with the login of the browser that it is seen in', async ({ page, api }) => {
  await signIn(page, '#/registry/factories');
  const before = (await api.get('factories?limit=1')).total;
  const body = JSON.stringify({ name: 'Forged' });
  // A form needs nobody's leave to send this: what is missing is the token, which only our page has.
  const site = await elsewhere(`
    <form method="post" enctype="text/plain" target="sink" action="${URL_OF_SERVER}/api/v1/factories"><input name='{"name":"Forged","x":"' value='"}'></form>
    <iframe name="sink"></iframe>
    <script>
      document.forms[0].submit();
      Promise.allSettled([
        fetch('${URL_OF_SERVER}/api/v1/factories', { method: 'POST', credentials: 'include', mode: 'no-cors', body: '${body}' }),
        fetch('${URL_OF_SERVER}/api/v1/factories', { method: 'POST', credentials: 'include', headers: { 'content-type': 'application/json' }, body: '${body}' }),
      ]).then((all) => { document.title = all.map((one) => one.status === 'fulfilled' ? String(one.value.status) : 'refused').join(' '); });
    </script>`);
  const forged = await page.context().newPage();
  const answers: number[] = [];
  forged.on('response', (response) => {
    if (response.request().method() === 'POST') answers.push(response.status());
  });
  await forged.goto(site.url);
  await expect(forged).toHaveTitle(/\S+ \S+/);
  await expect.poll(() => answers.length).toBeGreaterThanOrEqual(2);
  // 0: the browser told the other site nothing; it did not even send what asks first.
  expect(await forged.title()).toBe('0 refused');
  expect(answers.filter((status) => status < 400)).toEqual([]);
  expect((await api.get('factories?limit=1')).total).toBe(before);
  expect((await api.get('factories?keyword=Forged')).items).toEqual([]);
  await forged.close();
  site.server.close();
});

test('the token is in no cookie, no address and no lasting store', async ({ page }) => {
  const addresses: string[] = [];
  page.on('request', (request) => addresses.push(request.url()));
  await signInByForm(page, '#/floor');
  const token = await page.evaluate(() => Object.values({ ...sessionStorage })[0] as string);
  expect(token.length).toBeGreaterThan(40);
  for (const place of ['orders', 'episodes', 'deliveries', 'log', 'people', 'registry']) {
    await page.goto(`/#/${place}`);
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
    await page.waitForTimeout(300);
    addresses.push(page.url());
  }
  expect(await page.context().cookies()).toEqual([]);
  expect(addresses.filter((address) => address.includes(token))).toEqual([]);
  expect(await page.evaluate(() => JSON.stringify({ ...localStorage }))).not.toContain(token);
  expect(await page.content()).not.toContain(token);
  expect(await page.evaluate(async () => (await indexedDB.databases()).length + (await caches.keys().catch(() => [])).length)).toBe(0);
});
