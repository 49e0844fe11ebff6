// The library: the C functions of playground.hpp, which take texts and give objects.

import { file, system } from './system.mjs';

export class Library {
  // From the bytes of its module, compressed by gzip.
  static async open(compressed) {
    const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream('gzip'));
    const bytes = await new Response(stream).arrayBuffer();
    let exports = null;
    const { instance } = await WebAssembly.instantiate(
      bytes,
      system(() => exports.memory),
    );
    exports = instance.exports;
    exports.__wasm_call_ctors();
    return new Library(exports);
  }

  constructor(exports) {
    this.c = exports;
  }

  demo(view) {
    return this.answer(this.c.playground_demo, view);
  }
  snap(view) {
    return this.answer(this.c.playground_snap, view);
  }
  ownText(text) {
    return this.answer(this.c.playground_own_text, text);
  }
  ownFile(name, bytes) {
    Object.assign(file, { name, bytes });
    return this.answer(this.c.playground_own_npy, name);
  }
  predictions() {
    return this.parsed(this.c.playground_predictions());
  }
  cell(k) {
    return this.parsed(this.c.playground_cell(k));
  }
  dot(k) {
    return this.parsed(this.c.playground_dot(k));
  }

  // Pictures and positions are copied: the next call may move the memory.
  pixels(which, width, height) {
    return new ImageData(this.bytes(this.c.playground_pixels(which), 4 * width * height), width, height);
  }
  colourBar(errors, width) {
    return new ImageData(this.bytes(this.c.playground_colour_bar(errors ? 1 : 0, width), 4 * width), width, 1);
  }
  dots() {
    const at = this.c.playground_dot_positions();
    return new Float32Array(this.c.memory.buffer, at, 2 * this.c.playground_dots()).slice();
  }

  bytes(at, count) {
    return new Uint8ClampedArray(this.c.memory.buffer, at, count).slice();
  }
  answer(ask, text) {
    const bytes = new TextEncoder().encode(text.replaceAll('\0', ' ') + '\0');
    const at = this.c.malloc(bytes.length);
    if (at === 0) return { error: 'fewbit: there is not enough memory for this text; use a shorter one' };
    new Uint8Array(this.c.memory.buffer).set(bytes, at);
    const start = performance.now();
    try {
      return this.parsed(ask(at));
    } finally {
      performance.clearMeasures('library');
      performance.measure('library', { start });
      this.c.free(at);
    }
  }
  parsed(at) {
    const memory = new Uint8Array(this.c.memory.buffer);
    return JSON.parse(new TextDecoder().decode(memory.slice(at, memory.indexOf(0, at))));
  }
}
