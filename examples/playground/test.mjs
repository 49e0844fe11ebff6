// The page in a real browser: what it shows is what the same C interface gives when it is compiled for this machine,
// and what the examples have on record.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url)),
  examples = dirname(here),
  build = process.env.PLAYGROUND;
const { chromium } = createRequire(join(build, 'npm/'))('playwright-core');
const index = join(build, 'index.html'),
  address = pathToFileURL(index).href;

// The native program's answers, one for each line that it prints.
const native = (...words) =>
  execFileSync(join(build, 'native'), words, { encoding: 'utf8', cwd: join(examples, 'inspect/files') })
    .trim()
    .split('\n')
    .map((line) => (/^[{[]/.test(line) ? JSON.parse(line) : line));
const record = (path) => readFileSync(join(examples, path), 'utf8').split('\n');

let browser, page, complaints;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? execFileSync('which', ['chromium'], { encoding: 'utf8' }).trim(),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
});
after(() => browser.close());

// A new page with a view; everything it complains about or asks the network for is kept.
async function open(view = '', options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    reducedMotion: 'reduce',
    ...options,
  });
  page = await context.newPage();
  complaints = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  // Pictures are read back by these tests alone.
  const ours = (line) => line.text().startsWith('Canvas2D: Multiple readback operations');
  page.on(
    'console',
    (line) => ['error', 'warning'].includes(line.type()) && !ours(line) && complaints.push(line.text()),
  );
  page.on('request', (request) => /^(file|data|blob):/.test(request.url()) || complaints.push(request.url()));
  await page.goto(view ? `${address}#${view}` : address);
  await page.waitForSelector('body[data-ready]');
}

// A test in a page of its own, which must end without complaints.
function browse(name, view, body, options) {
  test(name, async () => {
    await open(view, options);
    try {
      await body();
      assert.deepEqual(complaints, []);
    } finally {
      await page.context().close();
    }
  });
}

// Goes to another view of the open page.
const show = (view) =>
  page.evaluate(
    (hash) =>
      new Promise((done) => {
        addEventListener('hashchange', () => requestAnimationFrame(done), { once: true });
        location.hash = hash;
      }),
    view,
  );
const frame = () =>
  page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

const visible = 'main:not([hidden])';
// What the visible tab shows under each of its keys.
const shown = () =>
  page.$$eval(`${visible} [data-value]`, (all) => Object.fromEntries(all.map((e) => [e.dataset.value, e.textContent])));
const text = (selector) => page.locator(selector).innerText();
const readout = () => text(`${visible} .readout`);
const message = () => text('#message');
// The address holds the view a moment after it was drawn.
async function viewInAddress() {
  const drawn = await page.evaluate(() => performance.getEntriesByName('draw').at(-1).detail);
  await page.waitForFunction((view) => location.hash.endsWith(`?${view}`), drawn);
  return decodeURIComponent(new URL(page.url()).hash.slice(1));
}
// A canvas's first pixel and its last, as the native program prints them.
const corners = (selector, width, height) =>
  page.$eval(
    selector,
    (canvas, [w, h]) => {
      const at = (x, y) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data];
      return [...at(0, 0), ...at(w - 1, h - 1)].map((x) => x.toString(16).padStart(2, '0')).join('');
    },
    [width, height],
  );

function sameFigures(actual, expected, what) {
  const keys = Object.keys(actual).filter((key) => key in expected);
  assert.ok(keys.length >= 6, `${what}: the page shows next to nothing`);
  for (const key of keys) assert.equal(actual[key], expected[key], `${what}: ${key}`);
  for (const key of Object.keys(actual)) assert.ok(key in expected, `${what}: the answer has no ${key}`);
}

// Every figure of the open view against the native program's.
async function agrees(question, before = []) {
  const [answer, first, back, error] = native(...before, question, 'pixels?0', 'pixels?1', 'pixels?2').slice(
    before.length / 2,
  );
  sameFigures(await shown(), answer, question);
  const panels = page.locator('#panels canvas');
  for (const [k, colours] of [first, back, error].entries()) {
    const { width, height } = answer;
    if (answer.rows * answer.cols !== width * height) continue; // the last pixel is none of its cells
    assert.equal(
      await corners(`.panel:nth-of-type(${k + 1}) canvas`, width, height),
      colours,
      `${question}: colours of panel ${k}`,
    );
  }
  assert.equal(await panels.count(), 5);
}
async function agreesOnWays(question, before = []) {
  const [answer] = native(...before, question).slice(before.length / 2);
  sameFigures(await shown(), answer, question);
  const rows = await page.$$eval('.way', (all) =>
    all.map((row) => [
      row.querySelector('b').textContent,
      row.querySelector('.mse').textContent,
      row.querySelector('.sqnr').textContent,
      row.querySelector('input').checked,
      row.querySelectorAll('path').length,
    ]),
  );
  const expected = answer.ways.map((way, k) => [
    way.name,
    way.possible ? `MSE ${way.mse}` : '4 bits only',
    way.sqnr ?? '',
    k === answer.chosen,
    (way.levels ?? []).length,
  ]);
  assert.deepEqual(rows, expected, question);
  return answer;
}

browse('the page is one file of at most 300 KB that asks for no other', '', async () => {
  assert.ok(statSync(index).size <= 300_000, `${statSync(index).size} bytes`);
  assert.deepEqual(readFileSync(index, 'utf8').match(/\b(?:src|href|url|import)\s*[=(]\s*["']?https?:/g), null);
  assert.equal(await page.locator('#message').isVisible(), false);
});

browse('the demo shows the figures on record, at every width and in both schemes', '', async () => {
  const rows = record('demo/demo.expected')
    .map((line) => line.trim().split(/ {2,}/))
    .filter((cells) => /^(asymmetric|linear)$/.test(cells[0]));
  assert.equal(rows.length, 8);
  for (const [scheme, bits, scale, zero, rmse, max_error, ratio, true_ratio] of rows) {
    await show(`demo?scheme=${scheme}&bits=${bits}`);
    const page_shows = await shown();
    for (const [key, value] of Object.entries({ scale, zero, rmse, max_error, ratio, true_ratio }))
      assert.equal(page_shows[key], value, `${scheme}, ${bits} bits: ${key}`);
    await agrees(`demo?scheme=${scheme}&bits=${bits}`);
  }
});

browse('a cell under the pointer has the weight, code and error on record', '', async () => {
  const rows = record('demo/demo.expected')
    .map((line) => line.match(/^(\d+) bits, column (\d+) +(\S+) +(\S+) +(\S+) +(\S+)$/))
    .filter(Boolean);
  assert.equal(rows.length, 12);
  for (const [, bits, column, weight, code, back, error] of rows) {
    await show(`demo?bits=${bits}&colours=${column === '8' ? 'stretched' : 'fixed'}`);
    const box = await page.locator('.matrix').nth(2).boundingBox();
    await page.mouse.move(box.x + ((Number(column) + 0.5) / 24) * box.width, box.y + (12.5 / 24) * box.height);
    assert.equal(
      await readout(),
      `row 12, column ${column}: weight ${weight} → code ${code}, level ${code} → ${back}, error ${error}`,
    );
  }
});

browse('the other examples’ figures on record are on the page', '', async () => {
  const figure = (lines, start) =>
    lines
      .find((line) => line.startsWith(start))
      .trim()
      .split(/ {2,}/)[1];
  const granularity = record('blog/granularity.expected');
  for (const [name, per] of [
    ['per tensor', 'tensor'],
    ['per channel', 'channel'],
    ['per group of 128', 'group&group=128'],
  ]) {
    await show(`demo?weights=outlier&shape=64x512&spread=0.02&scheme=linear&per=${per}`);
    const { mse, blocks } = await shown();
    assert.equal(mse, figure(granularity, `${name}, MSE`));
    assert.equal(blocks, figure(granularity, `${name}, scale factors`));
  }
  const asymmetric = record('blog/asymmetric.expected');
  for (const [name, scheme] of [
    ['symmetric', 'linear'],
    ['asymmetric', 'asymmetric'],
  ]) {
    await show(`demo?weights=relu&shape=1x1000&spread=0.5&scheme=${scheme}`);
    assert.equal(Number((await shown()).mse).toFixed(6), figure(asymmetric, `INT4 ${name} MSE`));
  }
  const mse = async (way) => (await text(`.way[data-way=${way}] .mse`)).replace('MSE ', '');
  const symmetric = record('blog/symmetric.expected');
  for (const bits of [8, 4, 2]) {
    await show(`snap?weights=normal&shape=1x1000&spread=0.5&bits=${bits}`);
    assert.equal(await mse('int'), figure(symmetric, `INT${bits} MSE`));
  }
  const nf4 = record('blog/nf4.expected');
  const corrected = (start) =>
    nf4
      .find((line) => line.startsWith(start))
      .trim()
      .split(/ {2,}/)[3];
  await show('snap?weights=normal&shape=1x10000&grid=nf4_blog');
  assert.equal(await mse('even'), figure(nf4, 'INT4 MSE'));
  assert.equal(await mse('nf4_blog'), figure(nf4, 'NF4 MSE'));
  assert.equal(
    await mse('nf4'),
    nf4
      .find((line) => /^NF4 MSE .*0\.012389/.test(line))
      .trim()
      .split(/ {2,}/)[3],
  );
  assert.equal(await mse('lloyd'), corrected('16 levels fitted to these weights (Lloyd-Max)'));
  assert.equal(await mse('int'), corrected("MSE of those, the page's own symmetric INT4"));
  assert.equal((await shown()).fullest, corrected("weights in the fullest bin of the page's table"));
  assert.equal((await shown()).emptiest, corrected("weights in the emptiest bin of the page's table"));
});

browse('every control of the demo changes the view as the native program says', '', async () => {
  const form = page.locator('#demo-panel form');
  const steps = [
    ['bits=5', () => form.locator('[name=bits]').press('ArrowRight')],
    ['bits=16', () => form.locator('[name=bits]').press('End')],
    ['bits=2', () => form.locator('[name=bits]').press('Home')],
    ['scheme=linear', () => form.getByText('Linear', { exact: true }).click()],
    ['per=channel', () => form.getByText('Channel', { exact: true }).click()],
    ['per=group', () => form.getByText('Group', { exact: true }).click()],
    ['group=16', () => form.getByLabel('Weights in a group').selectOption('16')],
    ['scales=f16', () => form.getByLabel('Scales are stored as').selectOption('f16')],
    ['scales=bf16', () => form.getByLabel('Scales are stored as').selectOption('bf16')],
    ['colours=stretched', () => form.getByLabel('Colours of errors').selectOption('stretched')],
    ['shape=64x64', () => form.getByLabel('Shape').selectOption('64x64')],
    ['weights=normal', () => form.getByLabel('Kind').selectOption('normal')],
    ['weights=shifted', () => form.getByLabel('Kind').selectOption('shifted')],
    ['weights=relu', () => form.getByLabel('Kind').selectOption('relu')],
    ['weights=outlier', () => form.getByLabel('Kind').selectOption('outlier')],
    ['spread=0.5', () => form.getByLabel('Spread').selectOption('0.5')],
    ['seed=7', () => form.getByLabel('Seed').fill('7')],
    ['shape=1x1000', () => form.getByLabel('Shape').selectOption('1x1000')],
    ['shape=64x512', () => form.getByLabel('Shape').selectOption('64x512')],
    ['scheme=nf4', () => form.getByText('NF4', { exact: true }).click()],
    ['per=tensor', () => form.getByText('Tensor', { exact: true }).click()],
  ];
  const seen = new Set([
    JSON.stringify(await shown()) + (await page.locator('.panel canvas').nth(2).screenshot()).toString('base64'),
  ]);
  for (const [part, act] of steps) {
    await act();
    await frame();
    const view = await viewInAddress();
    assert.ok(view.split(/[?&]/).includes(part), `${part} is not in ${view}`);
    await agrees(view);
    const looks =
      JSON.stringify(await shown()) + (await page.locator('.panel canvas').nth(2).screenshot()).toString('base64');
    assert.ok(!seen.has(looks), `${part} changes nothing`);
    seen.add(looks);
  }
  assert.equal(await form.locator('[name=bits]').isDisabled(), true, 'NF4 has its own width');
  assert.equal(await text('#demo-bits-shown'), '4');
  await form.getByLabel('Kind').selectOption('own');
  await frame();
  await agrees(await viewInAddress(), ['--text', await form.locator('textarea').inputValue()]);
});

browse('every control of the playground changes the view as the native program says', 'snap', async () => {
  const panel = page.locator('#snap-panel');
  const steps = [
    ['grid=nf4', () => panel.getByText('QLoRA').click()],
    ['grid=nf4_blog', () => panel.getByText('NF4 of the blog').click()],
    ['grid=even', () => panel.getByText('INT4 of the blog').click()],
    ['grid=lloyd', () => panel.getByText('Lloyd-Max').click()],
    ['bits=5', () => panel.locator('[name=bits]').press('ArrowRight')],
    ['bits=8', () => panel.locator('[name=bits]').press('End')],
    ['bits=4', () => panel.locator('[name=bits]').fill('4')],
    ['grid=nf4', () => panel.getByText('QLoRA').click()],
    ['shape=64x64', () => panel.getByLabel('Shape').selectOption('64x64')],
    ['group=64', () => panel.getByLabel('One scale for').selectOption('64')],
    ['scales=f16', () => panel.getByLabel('Scales as').selectOption('f16')],
    ['weights=relu', () => panel.getByLabel('Kind').selectOption('relu')],
    ['spread=0.02', () => panel.getByLabel('Spread').selectOption('0.02')],
    ['seed=3', () => panel.getByLabel('Seed').fill('3')],
    ['weights=outlier', () => panel.getByLabel('Kind').selectOption('outlier')],
    ['grid=int', () => panel.locator('[name=bits]').press('ArrowLeft')], // NF4 has no 3 bits
    ['weights=waves', () => panel.getByLabel('Kind').selectOption('waves')],
  ];
  const looks = async () =>
    (await page.locator('#stage').screenshot()).toString('base64') + JSON.stringify(await shown());
  let last = await looks();
  for (const [part, act] of steps) {
    await act();
    await frame();
    const view = await viewInAddress();
    assert.ok(view.split(/[?&]/).includes(part), `${part} is not in ${view}`);
    await agreesOnWays(view);
    const now = await looks();
    assert.notEqual(now, last, `${part} changes nothing`);
    last = now;
  }
});

browse(
  'a weight under the pointer, or under the arrow keys, is the native program’s',
  'snap?weights=normal&shape=64x64&group=64&grid=nf4',
  async () => {
    const words = (at) =>
      `${at.place}: weight ${at.weight} → code ${at.code}, level ${at.level} → ${at.back}, error ${at.error}`;
    const question = await viewInAddress();
    const all = native(question, ...Array.from({ length: 160 }, (_, k) => `dot?${k}`))
      .slice(1)
      .map(words);
    const box = await page.locator('#stage').boundingBox();
    for (const [x, y] of [
      [0.5, 0.5],
      [0.2, 0.6],
      [0.9, 0.47],
    ]) {
      await page.mouse.move(box.x + x * box.width, box.y + y * box.height);
      assert.ok(all.includes(await readout()), await readout());
    }
    await page.locator('.stage').focus();
    const visited = new Set();
    for (let k = 0; k < 400 && visited.size < all.length; ++k) {
      await page.keyboard.press(k < 160 ? 'ArrowLeft' : 'ArrowRight');
      visited.add(await readout());
    }
    assert.deepEqual([...visited].sort(), [...new Set(all)].sort());
  },
);

browse('weights move to their levels, unless the user wants no motion', 'snap', async () => {
  const where = () => page.locator('#snapped').inputValue();
  const look = async () => (await page.locator('#stage').screenshot()).toString('base64');
  assert.equal(await where(), '100', 'no motion is asked for');
  const snapped = await look();
  await page.locator('#snapped').fill('0');
  const loose = await look();
  assert.notEqual(loose, snapped);
  await page.getByText('Snap again').click();
  await frame();
  assert.equal(await where(), '100');
  await page.emulateMedia({ reducedMotion: 'no-preference' });
  const first = await page.evaluate(() => {
    document.querySelector('#replay').click();
    return Number(document.querySelector('#snapped').value);
  });
  await page.waitForFunction(() => document.querySelector('#snapped').value === '100');
  assert.ok(first < 100, `it was at ${first} already`);
  assert.equal(await look(), snapped);
});

browse('the predictions are answered with measured values, also where the document is wrong', '', async () => {
  const [, expected] = native('demo', 'predictions');
  const seen = await page.$$eval('#predictions li', (items) =>
    items.map((item) => ({
      title: item.querySelector('button').textContent,
      claims: [...item.querySelectorAll('tr')].map((row) => [...row.cells].map((cell) => cell.innerText)),
    })),
  );
  assert.deepEqual(
    seen,
    expected.map((p) => ({
      title: `Try ${p.title}`,
      claims: p.claims.map((c) => [
        c.says,
        c.why ? `${c.measured}\n${c.why}` : c.measured,
        c.verdict === 'holds' ? '✓ holds' : '✗ not so',
      ]),
    })),
  );
  assert.equal(seen.length, 5);
  const wrong = seen[2].claims.find(([says]) => says.startsWith('RMSE roughly 4x'));
  assert.match(wrong[1], /17\.2x that at 8 bits/);
  assert.equal(wrong[2], '✗ not so');
  for (const p of expected) {
    await page.getByRole('button', { name: `Try ${p.title}` }).click();
    await frame();
    assert.ok((await viewInAddress()).includes(p.view.split('&')[0]));
    await agrees(await viewInAddress());
  }
  await page.locator('#demo-panel').getByLabel('Kind').selectOption('normal');
  await frame();
  assert.notEqual(await text('#predictions'), expected, 'other weights, other answers');
  const [, of_normal] = native('demo?weights=normal', 'predictions');
  assert.ok((await text('#predictions')).includes(of_normal[2].claims[1].measured));
});

browse(
  'what cannot be quantized is answered with the library’s sentence, and the page goes on',
  '',
  async () => {
    await show('demo?weights=own&bits=4');
    assert.equal(await message(), native('demo?weights=own')[0].error);
    for (const tab of ['demo', 'snap']) {
      await show(`${tab}?weights=own`);
      const panel = page.locator(visible),
        area = panel.locator('textarea');
      const bad = ['1 2 NaN 4', '1, inf, 2', '1 2 three', '', ' \n ', '1 2\n3', '1e999', '[[1, 2], [3]]', '"\\ ', '0x'];
      for (const numbers of bad) {
        await area.fill('1 2'); // so that the next one is a change
        await area.fill(numbers);
        await frame();
        const view = await viewInAddress(),
          [first, second] = native('--text', numbers, view);
        const { error } = first.error ? first : second;
        assert.match(error, /^fewbit: /);
        assert.equal(await message(), error, numbers);
        const box = await page.locator('#message').boundingBox();
        assert.ok(box.y >= 0 && box.y + box.height <= page.viewportSize().height, 'the sentence is out of sight');
        assert.equal((await shown()).bits_per_weight, '–', `${numbers}: figures of other weights`);
      }
      for (const numbers of [
        '0.5',
        '0',
        '1 2 3\n4 5 6',
        '[[0.25 -1]\n [3e4 5]]',
        '-7;-7;-7',
        '1e-30 2e-30',
        '3e38 -3e38',
      ]) {
        await area.fill(numbers);
        await frame();
        assert.equal(await page.locator('#message').isVisible(), false, numbers);
        const view = await viewInAddress();
        sameFigures(await shown(), native('--text', numbers, view)[1], numbers);
      }
    }
    await page.locator(visible).locator('textarea').fill('4 4');
    await frame(); // until then it is still on
    await page.getByText('Lloyd-Max').click({ force: true }); // switched off: one value needs no codebook
    await frame();
    assert.match(await viewInAddress(), /grid=int/);
    await show('snap?weights=own&grid=lloyd');
    assert.equal(await message(), native('--text', '4 4', 'snap?weights=own&grid=lloyd')[1].error);
    assert.match(await message(), /give two distinct values or more/);
    await page.locator(visible).locator('textarea').fill('4 5');
    await frame();
    assert.equal(await page.locator('#message').isVisible(), false);
  },
  { viewport: { width: 1280, height: 500 } },
);

browse('a .npy file can be opened or dropped, and a damaged one is named', 'demo', async () => {
  const panel = page.locator(visible),
    files = join(examples, 'inspect/files');
  await panel.getByLabel('Kind').selectOption('own');
  const picker = panel.locator('input[type=file]');
  for (const name of ['not_npy', 'truncated', 'empty', 'nan']) {
    await picker.setInputFiles(join(files, `${name}.npy`));
    const [first, second] = native('--npy', `${name}.npy`, 'demo?weights=own');
    const { error } = first.error ? first : second;
    await page.waitForFunction((sentence) => document.querySelector('#message').textContent === sentence, error);
    assert.match(error, /^fewbit: /);
  }
  for (const name of ['c_order', 'fortran_order', 'one_dimension']) {
    await picker.setInputFiles(join(files, `${name}.npy`));
    const [shape, answer] = native('--npy', `${name}.npy`, 'demo?weights=own');
    await page.waitForFunction(
      (words) => document.querySelector('[data-own]').textContent === words,
      `${name}.npy: ${shape.rows} × ${shape.cols} weights`,
    );
    await frame();
    sameFigures(await shown(), answer, name);
  }
  const sample = join(examples, 'inspect/sample.npy');
  const data = await page.evaluateHandle(
    (bytes) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], 'sample.npy'));
      return transfer;
    },
    [...readFileSync(sample)],
  );
  await show('snap');
  await page.dispatchEvent('body', 'drop', { dataTransfer: data });
  await page.waitForFunction(() => document.querySelector('[data-own]').textContent.startsWith('sample.npy'));
  await frame();
  await agreesOnWays(await viewInAddress(), ['--npy', sample]);
});

browse('an address that says nonsense is answered, not followed', '', async () => {
  for (const view of [
    'demo?bits=99',
    'demo?bits=4.5',
    'demo?bits=four',
    'demo?colour=red',
    'demo?scheme=int3',
    'demo?nonsense',
    'demo?shape=24',
    'demo?shape=0x4',
    'demo?shape=99999x99999',
    'demo?weights=waves&shape=3x4',
    'demo?weights=normal&spread=-1',
    'snap?bits=16',
    'snap?grid=nf4&bits=3',
    'snap?group=-1',
    'snap?seed=1e99',
  ]) {
    await show(view);
    assert.match(native(view)[0].error, /^fewbit: /);
    assert.equal(await message(), native(view)[0].error, view);
  }
  await show('elsewhere?bits=3');
  assert.equal(await page.locator('#message').isVisible(), false);
});

browse(
  'a view is shared by its address',
  'demo?weights=outlier&shape=7x9&spread=3&seed=5&scheme=linear&bits=6&per=group&group=5&scales=bf16',
  async () => {
    await agrees(await viewInAddress());
    const view = await viewInAddress();
    await page.locator('#tab-snap').click();
    await page.locator('#snap-panel').getByText('QLoRA').click();
    await frame();
    assert.match(await viewInAddress(), /^snap\?.*grid=nf4/);
    await page.locator('#tab-demo').click();
    assert.equal(await viewInAddress(), view, 'a tab keeps its view');
    await page.reload();
    await page.waitForSelector('body[data-ready]');
    assert.equal(await viewInAddress(), view);
    await agrees(view);
  },
);

browse('one weight and a million are shown', '', async () => {
  await show('demo?weights=normal&shape=1x1');
  await agrees(await viewInAddress());
  await show('demo?weights=normal&shape=1000x1000&bits=4');
  await agrees(await viewInAddress());
  const [, expected] = native('demo?weights=normal&shape=1000x1000', 'predictions');
  const rise = expected[2].claims[1].measured;
  await page.waitForFunction((words) => document.querySelector('#predictions').textContent.includes(words), rise);
  await show('snap?weights=normal&shape=1000x1000&bits=4');
  await agreesOnWays(await viewInAddress());
  await show('snap?weights=normal&shape=1x1');
  assert.equal(await page.locator('#message').isVisible(), false);
});

// The best of some runs: on a shared machine others make any single one slow.
async function best(name, count, change) {
  let least = Infinity;
  for (let k = 0; k < count; ++k) {
    await change(k);
    await frame();
    least = Math.min(least, await page.evaluate((n) => performance.getEntriesByName(n).at(-1).duration, name));
  }
  return least;
}

browse(
  '64 x 64 weights are drawn within a frame, and a million quantized within 100 ms',
  'demo?weights=normal&shape=64x64',
  async () => {
    const slide = (k) => page.locator(`${visible} [name=bits]`).fill(String(3 + (k % 6)));
    const drawn = await best('draw', 20, slide);
    await show('snap?weights=normal&shape=64x64');
    const snapped = await best('draw', 20, slide);
    await show('demo?weights=normal&shape=1000x1000');
    const million = await best('library', 8, slide);
    console.log(
      `# 64 x 64: ${drawn.toFixed(1)} ms, as levels ${snapped.toFixed(1)} ms; 10^6 weights: ${million.toFixed(0)} ms`,
    );
    assert.ok(drawn < 16.7, `${drawn} ms`);
    assert.ok(snapped < 16.7, `${snapped} ms`);
    assert.ok(million < 100, `${million} ms`);
  },
);

browse('all of it can be reached from the keyboard, and where one is can be seen', '', async () => {
  const names = [];
  for (let k = 0; k < 40; ++k) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const e = document.activeElement,
        drawn = e.type === 'radio' ? e.nextElementSibling : e;
      return {
        name: e.id || e.name || e.className || e.textContent,
        outline:
          getComputedStyle(drawn).outlineStyle === 'solid' && parseFloat(getComputedStyle(drawn).outlineWidth) >= 2,
        body: e === document.body,
      };
    });
    if (at.body) break;
    assert.ok(at.outline, `${at.name} hides the focus`);
    names.push(at.name);
  }
  for (const name of [
    'tab-demo',
    'demo-bits',
    'scheme',
    'per',
    'demo-scales',
    'demo-colours',
    'weights',
    'shape',
    'matrix',
    'Try 4 bits',
  ])
    assert.ok(names.includes(name), `${name} is not among ${names}`);
  await page.locator('.matrix').first().focus();
  for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown', 'ArrowLeft']) await page.keyboard.press(key);
  assert.match(await readout(), /^row 1, column 0: /);
  await page.locator('#tab-demo').focus();
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'tab-snap');
  assert.equal(await page.locator('#snap-panel').isVisible(), true);
  await page.locator('.way input').first().focus();
  await page.keyboard.press('ArrowDown');
  await frame();
  assert.match(await viewInAddress(), /grid=even/);
  for (const unnamed of await page.locator('input, select, textarea, button').all())
    assert.notEqual(
      await unnamed.evaluate((e) => e.labels?.[0]?.textContent || e.textContent || e.getAttribute('aria-label') || ''),
      '',
    );
});

// How bright a colour is to the eye, and how far two are apart (WCAG 2, 1.4.3).
const luminance = (rgb) => {
  const [r, g, b] = rgb
    .match(/[\d.]+/g)
    .slice(0, 3)
    .map((x) => x / 255)
    .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) =>
  (Math.max(luminance(a), luminance(b)) + 0.05) / (Math.min(luminance(a), luminance(b)) + 0.05);

const pictures = join(build, 'pictures');
for (const colorScheme of ['light', 'dark'])
  for (const width of [1280, 900, 360])
    browse(
      `it can be read ${width} pixels wide and ${colorScheme}`,
      '',
      async () => {
        mkdirSync(pictures, { recursive: true });
        for (const tab of ['demo', 'snap']) {
          await show(tab === 'demo' ? 'demo?bits=4' : 'snap?weights=normal&shape=1x10000&grid=nf4');
          assert.ok(
            await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
            'it is wider than the screen',
          );
          const pairs = await page.$$eval(
            `${visible} :is(dt, dd, summary, label, td, h2, figcaption, .readout, button, b, small)`,
            (all) =>
              all
                .filter((e) => e.checkVisibility() && e.textContent.trim() && !e.closest(':has(> :disabled)'))
                .map((e) => {
                  let under = e;
                  while (under.parentElement && getComputedStyle(under).backgroundColor === 'rgba(0, 0, 0, 0)')
                    under = under.parentElement;
                  return [getComputedStyle(e).color, getComputedStyle(under).backgroundColor, e.textContent.trim()];
                }),
          );
          assert.ok(pairs.length > 20);
          const heights = await page.$$eval(`${visible} .way`, (all) => all.map((row) => row.offsetHeight));
          assert.ok(Math.max(0, ...heights) < 110, `rows of levels are ${heights} pixels high`);
          for (const [ink, paper, words] of pairs)
            assert.ok(contrast(ink, paper) >= 4.5, `${words}: ${contrast(ink, paper).toFixed(1)}, ${ink} on ${paper}`);
          await page.screenshot({ path: join(pictures, `${tab}-${width}-${colorScheme}.png`), fullPage: true });
        }
      },
      { viewport: { width, height: 800 }, colorScheme },
    );

// What README.md shows.
browse(
  'the picture of the page is made anew',
  'demo?bits=2',
  async () => {
    await page.screenshot({ path: join(pictures, 'screenshot.png') });
    const kept = readFileSync(join(here, 'screenshot.png'));
    assert.ok(kept.length < 120_000);
    assert.deepEqual([kept.readUInt32BE(16), kept.readUInt32BE(20)], [1280, 740], 'its width and height');
  },
  { viewport: { width: 1280, height: 740 } },
);
