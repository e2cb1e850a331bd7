import { write } from './dom.js';
import { percent } from './format.js';
import { words } from './language.js';

/** @typedef {import('voxgender').Summary} Summary */

const VOICES = /** @type {const} */ (['female', 'male', 'uncertain']);

/**
 * One voice's share of all speech, as it is written.
 * @param {number} seconds
 * @param {number} speech
 */
export function shareText(seconds, speech) {
  return speech ? `${percent(seconds / speech)} · ${seconds.toFixed(1)} s` : '–';
}

/** Shows how much of the speech was each voice's. */
export class Shares {
  #bars;
  #figures;
  #speech;

  /** @typedef {Record<typeof VOICES[number], HTMLElement>} ElementOfVoice */
  /** @param {{bars: ElementOfVoice, figures: ElementOfVoice, speech: HTMLElement}} elements */
  constructor({ bars, figures, speech }) {
    this.#bars = bars;
    this.#figures = figures;
    this.#speech = speech;
  }

  /** @param {Summary} total */
  show(total) {
    const { speech, duration } = total;
    for (const voice of VOICES) {
      this.#bars[voice].style.setProperty('--share', String(speech ? total[voice] / speech : 0));
      write(this.#figures[voice], shareText(total[voice], speech));
    }
    write(this.#speech, duration ? words().speechOf(speech.toFixed(1), duration.toFixed(1)) : '–');
  }
}
