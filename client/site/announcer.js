import { write } from './dom.js';
import { wordOf } from './language.js';

/** @typedef {import('voxgender').Label} Label */

/** A label is read out once it has lasted this long: not every syllable, but every voice. */
const LASTS_MS = 800;

/** Tells screen readers of each new voice. */
export class Announcer {
  #element;
  /** @type {Label | null} */
  #label = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {HTMLElement} element with the role `status` */
  constructor(element) {
    this.#element = element;
  }

  /** @param {Label} label that is heard now */
  hear(label) {
    if (label === this.#label) return;
    this.#label = label;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => write(this.#element, wordOf(label)), LASTS_MS);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#label = null;
  }
}
