// The fields that say which weights: a kind, or the user's own.

export class WeightFields {
  // Calls changed() when weights of the user's own have come.
  constructor(form, library, changed) {
    this.form = form;
    this.library = library;
    this.changed = changed;
    this.fields = form.querySelector('.weights');
    this.textarea = this.fields.querySelector('textarea');
    this.textarea.addEventListener('input', () => this.takeText());
    const picker = this.fields.querySelector('input[type=file]');
    picker.addEventListener('change', () => {
      if (picker.files.length > 0) this.takeFile(picker.files[0]);
      picker.value = '';
    });
    this.kind.addEventListener('change', () => {
      if (this.kind.value === 'own') this.takeText();
    });
  }

  get kind() {
    return this.form.elements.namedItem('weights');
  }

  // Switches off what the kind has no use for.
  update() {
    const own = this.kind.value === 'own',
      waves = this.kind.value === 'waves';
    this.fields.querySelector('.own').hidden = !own;
    this.fields.querySelector('.drawn').hidden = own;
    const { shape, spread, seed } = this.form.elements;
    shape.disabled = own;
    spread.disabled = seed.disabled = own || waves;
    for (const option of shape.options) {
      const [rows, cols] = option.value.split('x');
      option.disabled = waves && rows !== cols;
    }
    if (waves && shape.selectedOptions[0]?.disabled) shape.value = '24x24';
    const kind = this.kind.selectedOptions[0].text.replace(/ \(.*/, '');
    this.fields.querySelector('[data-which]').textContent = own ? kind : `${kind}, ${shape.selectedOptions[0].text}`;
  }

  takeText() {
    this.note(this.library.ownText(this.textarea.value), '');
    this.changed();
  }

  async takeFile(file) {
    this.kind.value = 'own';
    try {
      this.note(this.library.ownFile(file.name, new Uint8Array(await file.arrayBuffer())), file.name);
    } catch (error) {
      this.note(this.library.ownText(''), '');
      throw new Error(`fewbit: ${file.name} cannot be read: ${error.message}`);
    } finally {
      this.changed();
    }
  }

  note(answer, name) {
    const text = answer.error ? '' : `${name || 'pasted'}: ${answer.rows} × ${answer.cols} weights`;
    for (const place of document.querySelectorAll('[data-own]')) place.textContent = text;
  }
}

// Fills the elements marked data-value="key" with the answer's values, or with dashes.
export function fill(root, answer) {
  for (const place of root.querySelectorAll('[data-value]')) place.textContent = answer?.[place.dataset.value] ?? '–';
}

// One weight in words.
export function inWords(at) {
  return `${at.place}: weight ${at.weight} → code ${at.code}, level ${at.level} → ${at.back}, error ${at.error}`;
}
