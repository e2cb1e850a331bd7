import { isCommon, isVoice, labelColour, labelWord } from 'voxgender';

import { write } from './dom.js';
import { headline, percent } from './format.js';
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

  /** @param {{panel: HTMLElement, eyebrow: HTMLElement, word: HTMLElement, sure: HTMLElement, bar: HTMLElement}} elements */
  constructor({ panel, eyebrow, word, sure, bar }) {
    this.#panel = panel;
    this.#eyebrow = eyebrow;
    this.#word = word;
    this.#sure = sure;
    this.#bar = bar;
  }

  /** @param {Pick<Result, 'label' | 'confidence'>} result */
  showResult({ label, confidence }) {
    const instead = label === 'uncertain' ? 'It could be either' : 'Waiting for a voice';
    const isHeard = isVoice(label);
    this.#panel.classList.toggle('own', !isCommon(label));
    this.#panel.style.setProperty('--own', labelColour(label));
    this.#panel.dataset['label'] = label;
    write(this.#eyebrow, 'Heard now');
    write(this.#word, labelWord(label));
    write(this.#sure, isHeard ? `${percent(confidence)} sure` : instead);
    this.#bar.style.setProperty('--confidence', String(isHeard ? confidence : 0));
  }

  /**
   * @param {State} state
   * @param {Summary} total
   */
  showState(state, total) {
    // The label stays while results go on.
    if (state === 'live' && this.#panel.dataset['label']) return;
    delete this.#panel.dataset['label'];
    const isOver = state === 'stopped' && total.duration > 0;
    write(this.#eyebrow, isOver ? 'Summary' : 'Live voice');
    write(this.#word, isOver ? headline(total) : HEADLINES[state]);
    write(this.#sure, isOver ? `${total.speech.toFixed(1)} s of speech in ${total.duration.toFixed(1)} s` : '');
  }
}
