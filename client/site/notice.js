import { write } from './dom.js';
import { explainError, explainWarning, words } from './language.js';

/** @typedef {import('voxgender').InputChange} InputChange */
/** @typedef {import('voxgender').StateChange} StateChange */
/** @typedef {import('voxgender').Warning} Warning */

/** A warning that still holds is repeated every 10 s. */
const WARNING_MS = 12_000;

/** Says what goes wrong, in plain words. */
export class Notice {
  #box;
  #title;
  #advice;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {{box: HTMLElement, title: HTMLElement, advice: HTMLElement}} elements */
  constructor({ box, title, advice }) {
    this.#box = box;
    this.#title = title;
    this.#advice = advice;
  }

  /** @param {StateChange} change */
  showState({ state, error, retryMs }) {
    if (!error) {
      // While a new try runs, the reason for it stays readable.
      if (state !== 'reconnecting') this.#hide();
      return;
    }
    if (state === 'failed') return this.showError(error);
    const { title, advice } = explainError(error);
    const retry =
      retryMs === null ? words().tryingAgain : words().tryingAgainIn(Math.max(1, Math.round(retryMs / 1000)));
    this.#show(title, `${advice} ${retry}`);
  }

  /** @param {Error} error that is final */
  showError(error) {
    const { title, advice } = explainError(error);
    this.#show(title, advice, { final: true });
  }

  /** @param {InputChange} change */
  showInput({ error }) {
    if (!error) return this.#hide();
    const { title, advice } = explainError(error);
    this.#show(title, advice);
  }

  /** @param {Warning} warning */
  showWarning({ code }) {
    const warning = explainWarning(code);
    if (!warning) return;
    this.#show(warning.title, warning.advice);
    this.#timer = setTimeout(() => this.#hide(), WARNING_MS);
  }

  /**
   * Say what cannot be done.
   * @param {string} title
   * @param {string} advice
   */
  showProblem(title, advice) {
    this.#show(title, advice, { final: true });
  }

  /**
   * @param {string} title
   * @param {string} advice
   * @param {{final?: boolean}} [options]
   */
  #show(title, advice, { final = false } = {}) {
    clearTimeout(this.#timer);
    this.#box.classList.toggle('final', final);
    this.#box.hidden = false;
    write(this.#title, title);
    write(this.#advice, advice);
  }

  #hide() {
    clearTimeout(this.#timer);
    this.#box.hidden = true;
  }
}
