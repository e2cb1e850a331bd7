import { isCommon, labelColour } from 'voxgender';

import { write } from './dom.js';
import { percent } from './format.js';
import { wordOf, words } from './language.js';

/** @typedef {import('voxgender').Summary} Summary */

const VOICES = /** @type {const} */ (['female', 'male', 'uncertain']);

/**
 * One voice's share of all speech, as it is written.
 * @param {number} seconds
 * @param {number} speech
 */
export function shareText(seconds, speech) {
  return speech ? `${percent(seconds / speech)} · ${words().seconds(seconds.toFixed(1))}` : '–';
}

/** Shows how much of the speech was each voice's. */
export class Shares {
  #bars;
  #figures;
  #speech;
  #bar;
  #list;
  /** @type {Map<string, {bar: HTMLElement, figure: HTMLElement}>} of the model's further labels */
  #others = new Map();

  /** @typedef {Record<typeof VOICES[number], HTMLElement>} ElementOfVoice */
  /**
   * @param {object} elements
   * @param {ElementOfVoice} elements.bars
   * @param {ElementOfVoice} elements.figures
   * @param {HTMLElement} elements.speech
   * @param {HTMLElement} elements.bar that holds the bars
   * @param {HTMLElement} elements.list that holds a row for each figure
   */
  constructor({ bars, figures, speech, bar, list }) {
    this.#bars = bars;
    this.#figures = figures;
    this.#speech = speech;
    this.#bar = bar;
    this.#list = list;
  }

  /** @param {readonly string[]} labels of the model that listens */
  showLabels(labels) {
    for (const voice of VOICES) {
      const row = this.#figures[voice].parentElement;
      if (row) row.hidden = !labels.includes(voice);
    }
    for (const label of labels) if (!isCommon(label) && !this.#others.has(label)) this.#add(label);
  }

  /** @param {Summary} total */
  show(total) {
    const { speech, duration, others } = total;
    for (const voice of VOICES) showShare(this.#bars[voice], this.#figures[voice], total[voice], speech);
    for (const label of Object.keys(others ?? {})) if (!this.#others.has(label)) this.#add(label);
    for (const [label, { bar, figure }] of this.#others) showShare(bar, figure, others?.[label] ?? 0, speech);
    write(this.#speech, duration ? words().speechOf(speech.toFixed(1), duration.toFixed(1)) : '–');
  }

  /** @param {string} label */
  #add(label) {
    const bar = document.createElement('span');
    const row = document.createElement('div');
    const term = document.createElement('dt');
    const mark = document.createElement('span');
    const figure = document.createElement('dd');
    for (const element of [bar, row]) {
      element.className = 'own';
      element.style.setProperty('--own', labelColour(label));
    }
    mark.className = 'mark';
    mark.ariaHidden = 'true';
    term.append(mark, wordOf(label));
    row.append(term, figure);
    this.#bar.append(bar);
    this.#list.insertBefore(row, this.#figures.uncertain.parentElement);
    this.#others.set(label, { bar, figure });
  }
}

/**
 * @param {HTMLElement} bar
 * @param {HTMLElement} figure
 * @param {number} seconds
 * @param {number} speech
 */
function showShare(bar, figure, seconds, speech) {
  bar.style.setProperty('--share', String(speech ? seconds / speech : 0));
  write(figure, shareText(seconds, speech));
}
