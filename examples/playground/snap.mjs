// The playground's tab: weights above, levels below, and the way from one to the other.

import { fill, inWords } from './weights.mjs';

const duration_ms = 700,
  pad = 14,
  still = matchMedia('(prefers-reduced-motion: reduce)');

export class Snap {
  // Calls changed() when another codebook is chosen.
  constructor(root, library, changed) {
    this.root = root;
    this.library = library;
    this.form = root.querySelector('form');
    this.stage = root.querySelector('#stage');
    this.readout = root.querySelector('.readout');
    this.slider = root.querySelector('#snapped');
    this.ways = root.querySelector('#ways');
    this.share = 1; // how far the weights have gone
    this.dots = new Float32Array(0);
    this.selected = null;
    this.ways.addEventListener('change', changed);
    this.slider.addEventListener('input', () => this.moveTo(this.slider.value / 100));
    root.querySelector('#replay').addEventListener('click', () => this.animate());
    new ResizeObserver(() => this.paint()).observe(this.stage.parentElement);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.paint());
    this.listen();
  }

  // The codebook in the form: NF4 has no other width than 4 bits.
  update() {
    const bits = this.form.elements.bits.value;
    const grid = this.form.elements.namedItem('grid');
    if (grid && bits !== '4' && grid.value.startsWith('nf4')) grid.value = 'int';
    this.root.querySelector('#snap-bits-shown').textContent = bits;
  }

  // Draws a view; its error, if there is one.
  draw(view) {
    const answer = this.library.snap(view);
    this.root.querySelector('.results').classList.toggle('void', 'error' in answer);
    this.answer = answer.error ? null : answer;
    this.selected = null;
    fill(this.root, this.answer);
    if (answer.error) {
      this.dots = new Float32Array(0);
      this.paint();
      return answer.error;
    }
    this.dots = this.library.dots();
    this.list();
    this.root.querySelector('#snap-title').textContent =
      `${answer.weights} weights snap to the ${answer.levels} levels of ${answer.ways[answer.chosen].name}`;
    this.root.querySelector('#snap-axis').replaceChildren(
      ...answer.axis.map((tick, k) => {
        const label = Object.assign(document.createElement('span'), { textContent: tick });
        label.style.left = `calc(${pad}px + (100% - ${2 * pad}px) * ${k / (answer.axis.length - 1)})`;
        return label;
      }),
    );
    this.root.querySelector('#snap-axis-name').textContent = answer.one_scale
      ? 'weight'
      : 'weight / largest magnitude of its group';
    this.animate();
    return null;
  }

  // One row for each codebook. Rows stay, so that the keyboard does not lose its place.
  list() {
    const { ways, chosen } = this.answer;
    while (this.ways.children.length < ways.length) this.ways.append(this.row());
    ways.forEach((way, k) => {
      const row = this.ways.children[k],
        radio = row.querySelector('input');
      const say = (part, text) => (row.querySelector(part).textContent = text);
      row.dataset.way = way.id;
      row.classList.toggle('best', way.best === true);
      Object.assign(radio, { value: way.id, checked: k === chosen, disabled: !way.possible });
      say('.name b', way.name);
      say('.name small', way.what);
      say('.mse', way.possible ? `MSE ${way.mse}` : this.why(way));
      say('.sqnr', way.possible ? way.sqnr : '');
      say('.against', way.best ? `${way.against} · least`.replace(/^ · /, '') : (way.against ?? ''));
      row.querySelector('.share').style.setProperty('--share', way.possible ? way.share : 0);
      row.classList.toggle('dense', (way.levels ?? []).length > 40);
      row.querySelector('svg').innerHTML = (way.levels ?? [])
        .map((level) => `<path d="M${((level + 1) / 2) * 1000} 0V10"/>`)
        .join('');
    });
  }
  why(way) {
    return way.id === 'lloyd' ? 'one value needs no codebook' : '4 bits only';
  }
  row() {
    const row = document.createElement('label');
    row.className = 'way';
    row.innerHTML =
      '<input type="radio" name="grid" form="snap-form"><span class="name"><b></b> <small></small></span>' +
      '<span class="mse"></span>' +
      '<span class="sqnr"></span><span class="share"></span><span class="against"></span>' +
      '<svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true"></svg>';
    return row;
  }

  animate() {
    cancelAnimationFrame(this.frame);
    if (still.matches) return this.moveTo(1);
    const start = performance.now();
    const step = (now) => {
      const share = Math.min(Math.max((now - start) / duration_ms, 0), 1);
      this.moveTo(share * share * (3 - 2 * share));
      if (share < 1) this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
    this.moveTo(0);
  }
  moveTo(share) {
    this.share = share;
    this.slider.value = Math.round(100 * share);
    this.paint();
  }

  paint() {
    const { clientWidth: width, clientHeight: height } = this.stage,
      dense = devicePixelRatio || 1;
    if (width === 0) return;
    Object.assign(this.stage, { width: Math.round(width * dense), height: Math.round(height * dense) });
    const c = this.stage.getContext('2d');
    c.scale(dense, dense);
    if (!this.answer) return;
    const row = this.ways.children[this.answer.chosen];
    const colour = (name) => getComputedStyle(row).getPropertyValue(name).trim();
    const ink = colour('--way'),
      bar = colour('--bar'),
      faint = colour('--rule');
    const top = height * 0.42,
      floor = height * 0.72,
      x = (unit) => this.x(unit, width);

    this.paintBars(c, bar, x, top);
    c.strokeStyle = faint;
    c.strokeRect(pad - 0.5, top + 0.5, width - 2 * pad + 1, floor - top);
    this.paintLevels(c, ink, x, top, floor, height);
    this.paintDots(c, ink, x);
  }
  paintBars(c, colour, x, top) {
    const { bars } = this.answer,
      tallest = Math.max(...bars);
    c.fillStyle = colour;
    bars.forEach((count, k) => {
      const left = x((2 * k) / bars.length - 1),
        right = x((2 * (k + 1)) / bars.length - 1);
      const tall = (count / tallest) * (top - 8);
      c.fillRect(left + 0.5, top - tall, Math.max(right - left - 1, 0.5), tall);
    });
  }
  // A line through the weights for each level, and under it how many weights have come to it.
  paintLevels(c, colour, x, top, floor, height) {
    const { levels } = this.answer.ways[this.answer.chosen],
      { used } = this.answer;
    const fullest = Math.max(...used),
      thick = Math.max(1.5, Math.min(8, (0.3 * (x(1) - x(-1))) / levels.length));
    c.fillStyle = colour;
    levels.forEach((level, k) => {
      c.globalAlpha = levels.length > 40 ? 0.15 : 0.35;
      c.fillRect(x(level) - 0.5, top, 1, floor - top);
      c.globalAlpha = 1;
      c.fillRect(x(level) - thick / 2, floor, thick, 5);
      c.globalAlpha = 0.15 + 0.6 * this.share;
      c.fillRect(x(level) - thick / 2, floor + 5, thick, (used[k] / fullest) * (height - floor - 10) * this.share);
    });
    c.globalAlpha = 1;
  }
  paintDots(c, colour, x) {
    for (let k = 0; 2 * k < this.dots.length; ++k) {
      const [from, at, y] = this.place(k),
        chosen = k === this.selected;
      c.strokeStyle = c.fillStyle = colour;
      c.globalAlpha = chosen ? 1 : 0.3;
      c.lineWidth = chosen ? 2 : 1;
      c.beginPath();
      c.moveTo(x(from), y);
      c.lineTo(x(at), y);
      c.stroke();
      c.globalAlpha = chosen ? 1 : 0.75;
      c.beginPath();
      c.arc(x(at), y, chosen ? 6 : 3, 0, 2 * Math.PI);
      c.fill();
    }
    c.globalAlpha = 1;
    c.lineWidth = 1;
  }
  x(unit, width) {
    return pad + ((unit + 1) / 2) * (width - 2 * pad);
  }
  // Where a dot comes from, where it is, and its height, which only keeps dots apart.
  place(k) {
    const [from, to] = this.dots.subarray(2 * k, 2 * k + 2),
      height = this.stage.clientHeight;
    const apart = (k * 0.6180339887) % 1;
    return [from, from + (to - from) * this.share, height * (0.45 + 0.24 * apart)];
  }

  listen() {
    const stage = this.stage.parentElement;
    const point = (event) => {
      const box = this.stage.getBoundingClientRect();
      const px = event.clientX - box.left,
        py = event.clientY - box.top;
      let nearest = null,
        least = Infinity;
      for (let k = 0; 2 * k < this.dots.length; ++k) {
        const [, at, y] = this.place(k),
          far = Math.hypot(this.x(at, box.width) - px, y - py);
        if (far < least) [nearest, least] = [k, far];
      }
      if (nearest !== null) this.select(nearest);
    };
    stage.addEventListener('pointermove', point);
    stage.addEventListener('pointerdown', point);
    stage.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (!step || !this.answer) return;
      event.preventDefault();
      const order = [...Array(this.dots.length / 2).keys()].sort((a, b) => this.dots[2 * a] - this.dots[2 * b]);
      const at = this.selected === null ? (step > 0 ? -1 : order.length) : order.indexOf(this.selected);
      this.select(order[Math.min(Math.max(at + step, 0), order.length - 1)]);
    });
  }
  select(k) {
    this.selected = k;
    this.readout.textContent = inWords(this.library.dot(k));
    this.paint();
  }
}
