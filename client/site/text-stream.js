import { isCommon, isVoice, labelColour } from 'voxgender';

import { minutes, percent } from './format.js';
import { wordOf, words } from './language.js';
import { write } from './dom.js';

/** @typedef {import('./label-runs.js').LabelRun} LabelRun */
/** @typedef {import('./label-runs.js').LabelRuns} LabelRuns */

const LINES = 200;
const PARTS = ['time', 'mark', 'label', 'length', 'confidence'];

/** Shows one line for each run of a label, the newest on top and growing. */
export class TextStream {
  #list;

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#list = list;
  }

  /** @param {LabelRuns} runs */
  show(runs) {
    const shown = runs.all.slice(-LINES).reverse();
    while (this.#list.children.length > shown.length) this.#list.lastElementChild?.remove();
    while (this.#list.children.length < shown.length) this.#list.prepend(newLine());
    shown.forEach((run, index) => writeLine(/** @type {HTMLElement} */ (this.#list.children[index]), run));
  }
}

/**
 * Return the texts of a line. Silence and doubt have no percent: it would be read as a voice's.
 * @param {LabelRun} run
 */
export function lineTexts({ label, start, end, confidence }) {
  return {
    time: minutes(start),
    label: wordOf(label),
    length: words().seconds((end - start).toFixed(1)),
    confidence: isVoice(label) ? percent(confidence) : '',
  };
}

function newLine() {
  const line = document.createElement('li');
  for (const name of PARTS) {
    const part = document.createElement('span');
    part.className = name;
    line.append(part);
  }
  return line;
}

/**
 * @param {HTMLElement} line
 * @param {LabelRun} run
 */
function writeLine(line, run) {
  line.className = isCommon(run.label) ? run.label : 'own';
  line.style.setProperty('--own', labelColour(run.label));
  for (const [name, text] of Object.entries(lineTexts(run))) {
    write(/** @type {HTMLElement} */ (line.querySelector(`.${name}`)), text);
  }
}
