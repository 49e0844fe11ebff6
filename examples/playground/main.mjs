// The page: opens the library, and keeps its two tabs and its address in step.

import { readAddress, setView, viewOf, writeAddress } from './address.mjs';
import { Demo } from './demo.mjs';
import { Library } from './library.mjs';
import { Snap } from './snap.mjs';
import { WeightFields } from './weights.mjs';

const message = document.getElementById('message');
function say(text) {
  message.hidden = !text;
  message.textContent = text ?? '';
}

class Page {
  constructor(library) {
    const changed = () => this.changed();
    const own = () => {
      ++this.own;
      this.changed();
    };
    this.own = 0; // counts the user's weights
    this.pending = false;
    const demo = new Demo(document.getElementById('demo-panel'), library);
    const snap = new Snap(document.getElementById('snap-panel'), library, changed);
    this.tabs = { demo, snap };
    for (const [name, tab] of Object.entries(this.tabs)) {
      tab.weights = new WeightFields(tab.form, library, own);
      tab.form.addEventListener('input', changed);
      tab.form.addEventListener('submit', (event) => event.preventDefault());
      tab.button = document.getElementById(`tab-${name}`);
      tab.button.addEventListener('click', () => this.show(name));
      tab.button.addEventListener('keydown', (event) => {
        if (!['ArrowLeft', 'ArrowRight'].includes(event.key)) return;
        this.show(name === 'demo' ? 'snap' : 'demo');
        this.tab.button.focus();
      });
    }
    document.getElementById('predictions').addEventListener('click', (event) => this.follow(event.target.dataset.view));
    this.acceptFiles();
    setView(snap.form, 'weights=normal&shape=1x10000');
    this.views = { demo: viewOf(demo.form), snap: viewOf(snap.form) };
    addEventListener('hashchange', (event) => this.open(event.newURL));
    this.open(location.href);
  }

  get tab() {
    return this.tabs[this.name];
  }

  // Shows what an address says.
  open(url) {
    const { tab, view } = readAddress(url);
    const name = tab in this.tabs ? tab : 'demo';
    this.show(name, view || this.views[name]);
  }

  show(name, view = this.views[name]) {
    this.name = name;
    for (const [other, tab] of Object.entries(this.tabs)) {
      tab.root.hidden = other !== name;
      tab.button.setAttribute('aria-selected', String(other === name));
      tab.button.tabIndex = other === name ? 0 : -1;
    }
    this.set(view);
  }

  // A view as it stands, even one that the form has no fields for: the library says what is wrong with it.
  set(view) {
    setView(this.tab.form, view);
    this.tab.weights.update();
    this.tab.update();
    const said = new URLSearchParams(view),
      rest = new URLSearchParams(viewOf(this.tab.form));
    for (const key of said.keys()) rest.delete(key);
    this.draw([view, rest].filter(String).join('&'));
  }

  // The view of a prediction, with these weights.
  follow(view) {
    if (!view) return;
    for (const [key, value] of new URLSearchParams(view)) this.tab.form.elements.namedItem(key).value = value;
    this.changed();
  }

  // Drawn once a frame, however often a slider says that it was moved.
  changed() {
    this.tab.weights.update();
    this.tab.update();
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.draw(viewOf(this.tab.form));
    });
  }

  draw(view) {
    const start = performance.now(),
      keys = new URLSearchParams(view);
    const weights = ['weights', 'shape', 'spread', 'seed'].map((key) => keys.get(key)).join(' ');
    this.views[this.name] = view;
    try {
      say(this.tab.draw(view, keys.get('weights') === 'own' ? `own ${this.own}` : weights));
    } catch (error) {
      say(`fewbit: the program has stopped, load the page again: ${error.message}`);
    }
    performance.clearMeasures('draw');
    performance.measure('draw', { start, detail: view });
    writeAddress(this.name, view);
  }

  acceptFiles() {
    addEventListener('dragover', (event) => event.preventDefault());
    addEventListener('drop', (event) => {
      event.preventDefault();
      const file = event.dataTransfer?.files[0];
      if (file) this.tab.weights.takeFile(file).catch((error) => say(error.message));
    });
  }
}

async function start() {
  const roomy = matchMedia('(min-width: 56rem)').matches;
  for (const details of document.querySelectorAll('details')) details.open = roomy;
  const base64 = document.getElementById('wasm').textContent;
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  new Page(await Library.open(bytes));
  document.body.dataset.ready = '';
}
start().catch((error) => say(`fewbit: the library cannot run in this browser: ${error.message}`));
