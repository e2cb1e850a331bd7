import { isCommon, labelColour, labelWord } from 'voxgender';

import { minutes, percent } from './format.js';
import { LabelRuns } from './label-runs.js';

/** @typedef {import('voxgender').Label} Label */
/** @typedef {import('voxgender').Result} Result */

/** One line for each run of a label, the newest on top and growing. */
export class TextStream {
  #list;
  #runs = new LabelRuns();

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#list = list;
  }

  clear() {
    this.#runs = new LabelRuns();
    this.#list.replaceChildren();
  }

  /**
   * @param {Pick<Result, 'label' | 'confidence'>} result
   * @param {number} end of it, seconds of the page
   */
  add({ label, confidence }, end) {
    const { run, isNew } = this.#runs.add(end, label, confidence);
    if (isNew) this.#begin(label, run.start);
    const [length, sure] = this.#list.firstElementChild?.querySelectorAll('.length, .confidence') ?? [];
    if (!length || !sure) return;
    length.textContent = `${(run.end - run.start).toFixed(1)} s`;
    sure.textContent = percent(run.confidence);
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
    if (this.#list.children.length > this.#runs.all.length) this.#list.lastElementChild?.remove();
  }
}
