// From one call to the next with no gap in what is told: the new one listens until it hears what the old one hears.

import { deferred } from './promises.js';
import { Tally } from './tally.js';

/** @typedef {import('./messages.js').Message} Message */
/** @typedef {import('./messages.js').Hello} Hello */
/** @typedef {import('./messages.js').Label} Label */

/** A new call begins in the middle of a voice. For so long at most it may say something else than the old one. */
const SETTLE_MS = 1_500;

/**
 * What a call has told last. Whoever tells it keeps this current.
 * @typedef {object} Told
 * @property {Label | null} label of its latest result
 * @property {number} at_ms when that came, on the clock of `performance.now`
 * @property {Label | null} voice that it last changed to
 */

/** Holds back what a new call says until it can take over, and then lets on what the old one has not told. */
export class Handover {
  #told;
  /** @type {Hello | null} */
  #hello = null;
  /** @type {{message: Message, at_ms: number}[]} */
  #held = [];
  /** What is held back as a sum: the old call tells it. */
  #unheard = new Tally();
  #end_s = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #settled = /** @type {ReturnType<typeof deferred<void>>} */ (deferred());
  #knowsVoice = false;
  /** @type {((message: Message) => void) | null} */
  #tell = null;

  /** @param {Told} told of the old call */
  constructor(told) {
    this.#told = told;
  }

  /** Resolves when the new call may take over: it hears the same as the old one, or has had time enough to. */
  get settled() {
    return this.#settled.promise;
  }

  /** @param {Message} message of the new call */
  take(message) {
    if (this.#tell) this.#letOn(message);
    else if (message.type === 'hello') this.#hello = message;
    else this.#hold(message);
  }

  /**
   * The old call has said its last: the new one is told from now on.
   * @param {(message: Message) => void} tell
   * @param {(unheard: import('./messages.js').Summary) => void} skip told what of the new call's sums was the old one's
   */
  finish(tell, skip) {
    clearTimeout(this.#timer);
    const isTold = (/** @type {{message: Message, at_ms: number}} */ { message, at_ms }) =>
      message.type === 'result' && at_ms <= this.#told.at_ms;
    for (const { message } of this.#held.filter(isTold)) {
      this.#unheard.observe(message);
      if (message.type === 'result') this.#end_s = message.end;
    }
    this.#tell = tell;
    if (this.#hello) tell({ ...this.#hello, from: this.#end_s });
    skip(this.#unheard.total());
    for (const one of this.#held) if (!isTold(one)) this.#letOn(one.message);
    this.#held = [];
  }

  /** The old call is heard no more: there is nothing that the new one must agree with. */
  hurry() {
    this.#told = { ...this.#told, label: null };
    if (this.#timer) this.#settled.resolve();
  }

  cancel() {
    clearTimeout(this.#timer);
  }

  /** @param {Message} message */
  #hold(message) {
    // Warnings that still hold come again; an error ends the call by itself.
    if (message.type !== 'result' && message.type !== 'change') return;
    this.#held.push({ message, at_ms: performance.now() });
    if (message.type !== 'result') return;
    if (this.#told.label === null || message.label === this.#told.label) this.#settled.resolve();
    this.#timer ??= setTimeout(this.#settled.resolve, SETTLE_MS);
  }

  /**
   * The first change that a call tells is from silence to the voice it began with. To whoever heard the old call that
   * is none, or one from the voice that was told there.
   * @param {Message} message
   */
  #letOn(message) {
    if (message.type === 'change' && !this.#knowsVoice) {
      this.#knowsVoice = true;
      const { voice } = this.#told;
      if (message.to === voice) return;
      if (voice) message = { ...message, from: voice };
    }
    this.#tell?.(message);
  }
}
