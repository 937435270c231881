import { signIn, test } from './world';
const PLACES = (process.env.PLACES ?? '').split(' ').filter(Boolean);
const SIZES = (process.env.SIZES ?? '1280').split(',').map(Number);
test('shots', async ({ page, api }) => {
  test.setTimeout(240_000);
  await signIn(page, '#/registry');
  for (const place of PLACES) {
    let to = place;
    if (to.includes(':newest')) { const kind = to.split('/')[1]; to = to.replace(':newest', String((await api.get(`${kind}?limit=1`)).items[0].id)); }
    await page.goto(`/#/${to}`);
    for (const w of SIZES) { await page.setViewportSize({ width: w, height: w === 768 ? 1024 : 800 }); await page.waitForTimeout(1000);
    await page.screenshot({ path: `/tmp/cp-shots/h_${place.replace(/[^a-z0-9]+/gi, '_')}-${w}.png` }); }
  }
});
