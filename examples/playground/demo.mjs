// The demo's tab: three matrices, what they cost, and the document's predictions.

import { fill, inWords } from './weights.mjs';

const cells_at_once = 1 << 16; // more are judged after they are drawn

export class Demo {
  constructor(root, library) {
    this.root = root;
    this.library = library;
    this.form = root.querySelector('form');
    this.panels = root.querySelector('.panels');
    this.matrices = [...root.querySelectorAll('.matrix')];
    this.readout = root.querySelector('.readout');
    this.drawn = null; // which weights the first panel and the predictions are of
    for (const matrix of this.matrices) this.listen(matrix);
  }

  // Switches off what the scheme has no use for.
  update() {
    const { scheme, per, bits, group } = this.form.elements;
    bits.disabled = scheme.value === 'nf4';
    group.disabled = per.value !== 'group';
    this.root.querySelector('#demo-group-field').hidden = group.disabled;
  }

  // Draws a view; its error, if there is one. `weights` tells one set of weights from the next.
  draw(view, weights) {
    const answer = this.library.demo(view);
    this.root.querySelector('.results').classList.toggle('void', 'error' in answer);
    this.answer = answer.error ? null : answer;
    fill(this.root, this.answer);
    this.select(null);
    if (answer.error) {
      this.drawn = null;
      this.root.querySelector('#demo-bits-shown').textContent = this.form.elements.bits.value;
      this.root.querySelector('#predictions').replaceChildren();
      return answer.error;
    }
    this.root.querySelector('#demo-bits-shown').textContent = answer.bits;
    this.root.querySelector('#demo-levels').textContent = `${answer.levels} levels`;
    this.root.querySelector('#demo-error-name').textContent = `RMSE ${answer.rmse}`;
    const { width, height } = answer,
      fresh = weights !== this.drawn;
    this.panels.classList.toggle('wide', width > 3 * height);
    this.matrices.forEach((matrix, which) => {
      if (which > 0 || fresh) this.paint(matrix.querySelector('canvas'), this.library.pixels(which, width, height));
    });
    this.paint(this.root.querySelector('#bar-weights'), this.library.colourBar(false, 256));
    this.paint(this.root.querySelector('#bar-errors'), this.library.colourBar(true, 256));
    this.drawn = weights;
    if (fresh && width * height <= cells_at_once) this.judge();
    else if (fresh) setTimeout(() => this.drawn === weights && this.judge(), 50);
    return null;
  }

  paint(canvas, image) {
    Object.assign(canvas, { width: image.width, height: image.height });
    canvas.getContext('2d').putImageData(image, 0, 0);
  }

  judge() {
    const list = this.root.querySelector('#predictions');
    list.replaceChildren(...this.library.predictions().map((p) => this.prediction(p)));
  }

  prediction({ title, view, claims }) {
    const item = document.createElement('li');
    const button = Object.assign(document.createElement('button'), { type: 'button', textContent: `Try ${title}` });
    button.dataset.view = view;
    const table = document.createElement('table');
    for (const { says, measured, verdict, why } of claims) {
      const row = table.insertRow();
      row.dataset.verdict = verdict;
      row.insertCell().textContent = says;
      row.insertCell().append(measured, ...(why ? [document.createElement('br'), why] : []));
      row.insertCell().textContent = verdict === 'holds' ? '✓ holds' : '✗ not so';
    }
    item.append(button, table);
    return item;
  }

  listen(matrix) {
    const place = (event) => {
      const box = matrix.getBoundingClientRect(),
        { width, height } = this.answer;
      const x = Math.floor(((event.clientX - box.left) / box.width) * width);
      const y = Math.floor(((event.clientY - box.top) / box.height) * height);
      return x >= 0 && y >= 0 && x < width && y < height ? y * width + x : null;
    };
    const point = (event) => this.answer && this.select(place(event));
    matrix.addEventListener('pointermove', point);
    matrix.addEventListener('pointerdown', point);
    matrix.addEventListener('keydown', (event) => {
      if (!this.answer) return;
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.answer.width, ArrowDown: this.answer.width };
      if (!(event.key in steps)) return;
      event.preventDefault();
      const next = this.selected === null ? 0 : this.selected + steps[event.key];
      if (next >= 0 && next < this.answer.rows * this.answer.cols) this.select(next);
    });
  }

  // Marks a cell in all three matrices and says what is in it; null marks none.
  select(k) {
    if (k !== null && k >= this.answer.rows * this.answer.cols) k = null;
    this.selected = k;
    for (const matrix of this.matrices) {
      const marker = matrix.querySelector('.marker');
      marker.hidden = k === null;
      if (k === null) continue;
      const { width, height } = this.answer;
      Object.assign(marker.style, {
        left: `${((k % width) / width) * 100}%`,
        top: `${(Math.floor(k / width) / height) * 100}%`,
        width: `${100 / width}%`,
        height: `${100 / height}%`,
      });
    }
    if (k !== null) this.readout.textContent = inWords(this.library.cell(k));
  }
}
