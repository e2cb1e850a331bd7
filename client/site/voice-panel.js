import { isCommon, isVoice, labelColour } from 'voxgender';

import { write } from './dom.js';
import { headline, percent } from './format.js';
import { wordOf, words } from './language.js';
import { HEADLINES } from './state-words.js';

/** @typedef {import('voxgender').Result} Result */
/** @typedef {import('voxgender').State} State */
/** @typedef {import('voxgender').Summary} Summary */

/** Shows in large letters how the voice is heard now, and after the call how it was heard on the whole. */
export class VoicePanel {
  #panel;
  #eyebrow;
  #word;
  #sure;
  #bar;
  /** @type {Pick<Result, 'label' | 'confidence'> | null} what is shown of a voice now */
  #result = null;

  /** @param {{panel: HTMLElement, eyebrow: HTMLElement, word: HTMLElement, sure: HTMLElement, bar: HTMLElement}} elements */
  constructor({ panel, eyebrow, word, sure, bar }) {
    this.#panel = panel;
    this.#eyebrow = eyebrow;
    this.#word = word;
    this.#sure = sure;
    this.#bar = bar;
  }

  /** @param {Pick<Result, 'label' | 'confidence'>} result */
  showResult(result) {
    const { label, confidence } = result;
    this.#result = result;
    const instead = label === 'uncertain' ? words().undecided : words().waitingForVoice;
    const isHeard = isVoice(label);
    this.#panel.classList.toggle('own', !isCommon(label));
    this.#panel.style.setProperty('--own', labelColour(label));
    this.#panel.dataset['label'] = label;
    write(this.#eyebrow, words().heardNow);
    write(this.#word, wordOf(label));
    this.#word.style.setProperty('--letters', String(wordOf(label).length));
    write(this.#sure, isHeard ? words().sure(percent(confidence)) : instead);
    this.#bar.style.setProperty('--confidence', String(isHeard ? confidence : 0));
  }

  /**
   * Say in the place of the headline what stands against listening.
   * @param {{title: string, advice: string}} reason
   */
  showReason({ title, advice }) {
    this.#result = null;
    delete this.#panel.dataset['label'];
    write(this.#word, title);
    write(this.#sure, advice);
  }

  /**
   * @param {State} state
   * @param {Summary} total
   */
  showState(state, total) {
    // The label stays while results go on, in the language in use.
    if (state === 'live' && this.#result) return this.showResult(this.#result);
    this.#result = null;
    delete this.#panel.dataset['label'];
    const isOver = state === 'stopped' && total.duration > 0;
    write(this.#eyebrow, isOver ? words().summary : words().liveVoice);
    write(this.#word, isOver ? headline(total) : words()[HEADLINES[state]]);
    write(this.#sure, isOver ? words().speechIn(total.speech.toFixed(1), total.duration.toFixed(1)) : '');
  }
}
