// Uses /docs of a gateway as a person would, in a real browser: docs.mjs GATEWAY BROWSER PLAYWRIGHT [PICTURE]
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';

const [gateway, executablePath, playwright, picture] = process.argv.slice(2);
const { chromium } = (await import(pathToFileURL(playwright).href)).default;
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const faults = [];
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(gateway) && !request.url().startsWith('data:')) faults.push('asked ' + request.url());
  });
  await page.goto(gateway + '/docs');
  await page.getByText('8 actions').waitFor();

  // Every operation can be opened.
  const links = await page.locator('#list a').all();
  assert.ok(links.length > 35, `${links.length} operations`);
  for (const link of links) {
    await link.click();
    await page.locator(`#list a[aria-current][href="${await link.getAttribute('href')}"]`).waitFor();
    await page.locator('#send').waitFor();
  }

  // A call, and what it comes to.
  await page.locator('#filter').fill('core.echo');
  await page.getByRole('link', { name: 'core.echo' }).click();
  await page.locator('#body').fill('{"message": "<b>Ada</b>"}');
  await page.locator('#send').click();
  await page.locator('#status.good').waitFor();
  assert.equal((await page.locator('#output').textContent()).trim(), '<b>Ada</b>');
  assert.match(await page.locator('#status').textContent(), /^200 · text\/plain.* · execution 0/);
  if (picture) await page.screenshot({ path: picture });

  // Events, as they come.
  await page.locator('#accept').selectOption('text/event-stream');
  await page.locator('#send').click();
  await page.locator('#output', { hasText: 'event: result' }).waitFor();

  // A refusal.
  await page.locator('#body').fill('{"message": 1}');
  await page.locator('#send').click();
  await page.locator('#status.bad').waitFor();
  assert.match(await page.locator('#output').textContent(), /invalid-parameters/);
  const refused = faults.filter((fault) => !/status of 422/.test(fault));
  assert.deepEqual(refused, [], 'what the browser complains of');

  // A script that somebody smuggles in does not run.
  const ran = await page.evaluate(() => new Promise((resolve) => {
    document.addEventListener('securitypolicyviolation', () => resolve('refused'));
    const script = document.createElement('script');
    script.textContent = 'window.smuggled = true';
    document.body.append(script);
    setTimeout(() => resolve(window.smuggled ? 'ran' : 'nothing'), 2000);
  }));
  assert.equal(ran, 'refused');
  console.log(`${links.length} operations, all opened; calls, events, refusals and the policy are as they should be`);
} finally {
  await browser.close();
}
