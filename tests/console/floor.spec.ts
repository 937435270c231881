// The floor: is everything running?

import { Station } from './factory';
import { expect, pictured, signIn, test, until } from './world';

test('the floor moves by itself, and shows who needs attention', async ({ page, api }) => {
  const simulated = (await until(async () => (await api.get('stations?limit=100')).items.at(-1), 'a station')) as { robot_serial: string };
  const station = await Station.made(api);
  const { tasks } = await station.work(2);
  await signIn(page, '#/floor');
  const working = page.locator(`tr[data-device="${simulated.robot_serial}"]`);
  await expect(working).toBeVisible();
  await expect(working).toContainText('recording', { timeout: 30_000 });
  await expect(working.getByRole('link', { name: /^…/ })).toHaveAttribute('href', /#\/tasks\/task_/);
  const completed = page.locator('[data-figure="completed"] .figure');
  const before = await completed.innerText();
  await expect(completed).not.toHaveText(before, { timeout: 30_000 });
  await expect(page.locator('[data-figure="completed"] svg path')).toHaveAttribute('d', /L/);
  await expect(page.locator('[data-figure="cloud"]')).toBeVisible();
  await expect(page.locator('[data-figure="deliveries"]')).toContainText('0 unresolved dead letters');

  // A robot that was never there, comes, records, and goes.
  const row = page.locator(`tr[data-device="${station.device}"]`);
  await expect(row).toContainText('disconnected');
  await station.on();
  await expect(row).toContainText('idle');
  await expect(row.getByTitle('uploader connected')).toBeVisible();
  station.state('ready', 'recording', tasks[0]!.task_id);
  await expect(row).toContainText('recording');
  await expect(row.getByRole('link', { name: /^…/ })).toHaveAttribute('title', tasks[0]!.task_id);
  await pictured(page, 'floor');
  station.off();
  await expect(row).toContainText('disconnected');

  await page.getByLabel('Which stations').selectOption('attention');
  await expect(page).toHaveURL(/only=attention/);
  await expect(row).toBeVisible();
  await expect(working).toBeHidden();
  await page.getByLabel('Station, robot or collector').fill('no such station');
  await expect(page.getByText('No station is like that.')).toBeVisible();
  await page.goto(`/#/floor?q=${station.device}`);
  await expect(page.getByTestId('stations').locator('tbody tr')).toHaveCount(1);
  await page.getByRole('heading', { level: 1 }).click();
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(new RegExp(`#/tasks\\?workstation_id=${station.id}$`));
});

test('an alert says what is wrong, since when, what helps, and leads there', async ({ page }) => {
  const since = new Date(Date.now() - 90_000).toISOString();
  const alert = { name: 'cloud_queue_long', severity: 'critical', state: 'firing', since, for_s: 300, figure: 250, threshold: 100, summary: 'Many episodes wait for the cloud', advice: 'Look at the destinations.' };
  await page.route('**/api/v1/alerts', (route) => route.fulfill({ json: { items: [alert], looked_at: new Date().toISOString() } }));
  await signIn(page, '#/floor');
  const shown = page.getByRole('region', { name: alert.summary });
  await expect(shown).toContainText('Look at the destinations.');
  await expect(shown).toContainText('250, must not pass 100');
  await expect(shown.getByRole('link', { name: 'Look there' })).toHaveAttribute('href', '#/sync');
});

test('a collector sees the floor, is asked for nothing more, and is refused nothing', async ({ page, api }) => {
  const station = await Station.made(api);
  const refused: string[] = [];
  page.on('response', (answer) => {
    if (answer.status() === 403) refused.push(answer.url());
  });
  await signIn(page, '#/floor', station.collector, station.password);
  await expect(page.locator(`tr[data-device="${station.device}"]`)).toBeVisible();
  await expect(page.locator('[data-figure="recording"]')).toBeVisible();
  await expect(page.locator('[data-figure="cloud"]')).toHaveCount(0);
  await expect(page.locator('[data-figure="deliveries"]')).toHaveCount(0);
  await expect(page.getByTestId('stations').locator('tbody tr')).toHaveCount(1);
  expect(refused).toEqual([]);
});

test('200 robots and 200 changes a second cost less than half of one core', async ({ page }) => {
  const ROBOTS = 200;
  const device = (n: number) => `AB-F0001-T0009-${String(n).padStart(6, '0')}`;
  await page.route('**/production/dashboard/snapshot*', async (route) => {
    const answer = await route.fetch();
    const seen = await answer.json();
    const card = { status: 'inactive', status_text: '', collector_operator_id: 'c', collector_name: 'Collector', device_model: 'm', robot_name: 'm' };
    seen.stations = Array.from({ length: ROBOTS }, (_, n) => ({ ...card, id: String(1000 + n), name: `station ${n}`, device_id: device(n) }));
    await route.fulfill({ json: seen });
  });
  // Both streams are made in the page itself: what that costs is counted, too.
  await page.addInitScript(() => {
    const real = window.fetch.bind(window);
    const states = ['idle', 'ready', 'recording', 'paused'];
    const made = (n: number, at: string, log: boolean) => {
      const device_id = `AB-F0001-T0009-${String(n % 200).padStart(6, '0')}`;
      const state = states[Math.floor(n / 200) % 4];
      const task_id = `task_20261128_120000_000_00_${String(n).padStart(8, '0')}`;
      const event = { position: n + 1, event_id: `device/${device_id}/${n}`, category: 'device', stream_id: device_id, sequence: n, type: 'recorder_state_observed', version: '1.0', recorded_at: at, occurred_at: at, actor: `device:${device_id}`, role: 'device', correlation_id: String(n), causation_id: null, causation_depth: 0, data: { seen: { state, task_id } } };
      const told = n < 200 ? { type: 'device_connection', device_id, recorder_connected: true, transfer_connected: true, updated_at: at } : { type: 'recorder_state', device_id, current_state: state, task_id, updated_at: at };
      return log ? `id: ${n + 1}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n` : `id: ${n + 1}\nevent: ${told.type}\ndata: ${JSON.stringify(told)}\n\n`;
    };
    window.fetch = (asked: RequestInfo | URL, init?: RequestInit) => {
      const url = String(asked instanceof Request ? asked.url : asked);
      if (!/device-state\/stream|events\/stream/.test(url)) return real(asked, init);
      let n = 0;
      const log = url.includes('events/stream');
      const body = new ReadableStream({
        start(to) {
          const encoder = new TextEncoder();
          setInterval(() => {
            const at = new Date().toISOString();
            for (let i = 0; i < 20; i += 1) to.enqueue(encoder.encode(made(n++, at, log)));
          }, 100);
        },
      });
      return Promise.resolve(new Response(body, { headers: { 'content-type': 'text/event-stream' } }));
    };
  });
  await signIn(page, '#/floor');
  await expect(page.getByTestId('stations').locator('tbody tr')).toHaveCount(ROBOTS);
  await expect(page.locator(`tr[data-device="${device(199)}"]`)).toContainText('recording');
  const session = await page.context().newCDPSession(page);
  // Time of the processor, and not of the clock: other programs of the machine are none of the page's business.
  await session.send('Performance.enable');
  const spent = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    const of = (name: string) => metrics.find((metric) => metric.name === name)?.value ?? 0;
    return { at: of('Timestamp'), busy: of('ProcessTime') };
  };
  const from = await spent();
  await page.waitForTimeout(5000);
  const to = await spent();
  const share = (to.busy - from.busy) / (to.at - from.at);
  expect(share).toBeGreaterThan(0);
  expect(share).toBeLessThan(0.5);
});
