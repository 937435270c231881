import { defineConfig } from '@playwright/test';

// Run by `tests/it/console`, which starts the program and says where it is; by hand:
//   KEYSTONE_URL=http://127.0.0.1:8080 KEYSTONE_PASSWORD=… npx playwright test floor
export default defineConfig({
  testDir: '.',
  outputDir: 'test-results',
  fullyParallel: false,
  workers: 1,
  retries: 0,
  timeout: 90_000,
  expect: { timeout: 15_000 },
  reporter: [['list']],
  forbidOnly: true,
  use: {
    baseURL: process.env.KEYSTONE_URL,
    viewport: { width: 1280, height: 800 },
    locale: 'en',
    timezoneId: 'Asia/Shanghai',
    // What a failed test saw.
    screenshot: 'only-on-failure',
    launchOptions: {
      executablePath: process.env.KEYSTONE_CHROMIUM ?? '/usr/bin/chromium',
      // Tests run as root in containers, where there is no sandbox to have.
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
    },
  },
});
