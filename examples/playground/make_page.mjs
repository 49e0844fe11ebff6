// Puts the page together: page.html with its style, its scripts and the compiled library inside.
//
//   node make_page.mjs MODULE.wasm PAGE.html

import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { system } from './system.mjs';

const [module_path, page_path] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const source = (name) => readFileSync(join(here, name), 'utf8');

// Scripts in the order of their needs, as one: what one exports, the next ones see.
const scripts = ['system.mjs', 'library.mjs', 'address.mjs', 'weights.mjs', 'demo.mjs', 'snap.mjs', 'main.mjs'];
const script = scripts
  .map((name) =>
    source(name)
      .replace(/^import .*;\n/gm, '')
      .replace(/^export /gm, ''),
  )
  .join('\n');
const weights = /<template id="weights">\n([^]*?)<\/template>\n/;
const page = source('page.html');
const fieldset = page.match(weights)[1];

// Another Emscripten than the one this was written for may ask for more.
const module = readFileSync(module_path),
  given = system(() => null);
for (const { module: from, name } of WebAssembly.Module.imports(new WebAssembly.Module(module)))
  if (!given[from]?.[name]) throw new Error(`the module asks for ${from}.${name}, which system.mjs does not have`);
const wasm = gzipSync(module, { level: 9 }).toString('base64');

const parts = { '/*style.css*/': source('style.css'), '/*wasm*/': wasm, '/*script*/': script };
let out = page.replace(weights, '').replaceAll('<!--weights-->', () => fieldset.trim());
for (const [mark, part] of Object.entries(parts)) {
  if (!out.includes(mark)) throw new Error(`page.html has no ${mark}`);
  if (/<\/(script|style)/i.test(part)) throw new Error(`the part for ${mark} would end its element`);
  out = out.replace(mark, () => part);
}
writeFileSync(page_path, out);
console.log(`${page_path}: ${Buffer.byteLength(out)} bytes`);
