import { isCommon, labelColour, labelWord } from 'voxgender';

import { minutes, percent } from './format.js';
import { Stretches } from './stretches.js';

/** @typedef {import('voxgender').Label} Label */
/** @typedef {import('voxgender').Result} Result */

/** One line for each stretch of a label, the newest on top and growing. */
export class TextStream {
  #list;
  #stretches = new Stretches();

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#list = list;
  }

  clear() {
    this.#stretches = new Stretches();
    this.#list.replaceChildren();
  }

  /**
   * @param {Pick<Result, 'label' | 'confidence'>} result
   * @param {number} end of it, seconds of the page
   */
  add({ label, confidence }, end) {
    const { stretch, isNew } = this.#stretches.add(end, label, confidence);
    if (isNew) this.#begin(label, stretch.start);
    const [length, sure] = this.#list.firstElementChild?.querySelectorAll('.length, .confidence') ?? [];
    if (!length || !sure) return;
    length.textContent = `${(stretch.end - stretch.start).toFixed(1)} s`;
    sure.textContent = percent(stretch.confidence);
  }

  /**
   * @param {Label} label
   * @param {number} at seconds
   */
  #begin(label, at) {
    const line = document.createElement('li');
    if (isCommon(label)) {
      line.className = label;
    } else {
      line.className = 'own';
      line.style.setProperty('--own', labelColour(label));
    }
    const parts = { time: minutes(at), mark: '', label: labelWord(label), length: '', confidence: '' };
    for (const [name, text] of Object.entries(parts)) {
      const part = document.createElement('span');
      part.className = name;
      part.textContent = text;
      line.append(part);
    }
    this.#list.prepend(line);
    if (this.#list.children.length > this.#stretches.all.length) this.#list.lastElementChild?.remove();
  }
}
