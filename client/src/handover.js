// From one call to the next with no gap: the new call listens until it hears what the old one hears.

import { deferred } from './promises.js';
import { Tally } from './tally.js';

/** @typedef {import('./message-types.js').Message} Message */
/** @typedef {import('./message-types.js').Hello} Hello */
/** @typedef {import('./message-types.js').Label} Label */
/** @typedef {import('./message-types.js').Summary} Summary */

/** A new call begins in the middle of a voice. For so long at most it may say something else than the old one. */
const SETTLE_MS = 1_500;

/**
 * The latest that a call has told.
 * @typedef {object} Latest
 * @property {Label | null} label of its latest result
 * @property {number} atMs when that came, on the clock of `performance.now`
 * @property {Label | null} voice that it last changed to
 */

/** @type {Readonly<Latest>} */
export const NOTHING_TOLD = { label: null, atMs: 0, voice: null };

/**
 * @param {Readonly<Latest>} latest
 * @param {Message} message that was told after it
 * @returns {Readonly<Latest>}
 */
export function latestAfter(latest, message) {
  if (message.type === 'result') return { ...latest, label: message.label, atMs: performance.now() };
  if (message.type === 'change') return { ...latest, voice: message.to };
  return latest;
}

/**
 * The point at which a new call takes over from an old one.
 * @typedef {object} Resumption
 * @property {Hello} hello of the new call
 * @property {number} resumedAt seconds of the new call's audio that the old one has told
 * @property {Summary} told that much as the new call's own sums count it
 */

/** Holds back the messages of a new call until it can take over, and then lets on those that the old one has not told. */
export class Handover {
  #latest;
  /** @type {Hello | null} */
  #hello = null;
  /** @type {{message: Message, atMs: number}[]} */
  #held = [];
  #hasResult = false;
  /** True if the new call has to agree with the old one before it takes over. */
  #mustAgree = true;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #settled = /** @type {ReturnType<typeof deferred<void>>} */ (deferred());
  /** @type {Label | null} */
  #voice = null;
  #knowsVoice = false;
  /** @type {((message: Message) => void) | null} */
  #onmessage = null;

  /** @param {() => Readonly<Latest>} latest that the old call has told by now */
  constructor(latest) {
    this.#latest = latest;
  }

  /** Resolves when the new call may take over: it hears the same as the old one, or has had time enough to. */
  get settled() {
    return this.#settled.promise;
  }

  /** @param {Message} message of the new call */
  take(message) {
    if (this.#onmessage) this.#letOn(message);
    else if (message.type === 'hello') this.#hello = message;
    else this.#hold(message);
  }

  /** Let the new call take over with its first result: nothing is heard of the old one any more. */
  hurry() {
    this.#mustAgree = false;
    if (this.#hasResult) this.#settled.resolve();
  }

  /**
   * End the old call's part: the new one is told from now on.
   * @param {{onresume: (resumption: Resumption) => void, onmessage: (message: Message) => void}} listeners
   */
  finish({ onresume, onmessage }) {
    clearTimeout(this.#timer);
    const { atMs: toldUntilMs, voice } = this.#latest();
    const isTold = (/** @type {{message: Message, atMs: number}} */ { message, atMs }) =>
      message.type === 'result' && atMs <= toldUntilMs;
    const tally = new Tally();
    let resumedAt = 0;
    for (const { message } of this.#held.filter(isTold)) {
      tally.observe(message);
      if (message.type === 'result') resumedAt = message.end;
    }
    this.#voice = voice;
    this.#onmessage = onmessage;
    if (this.#hello) onresume({ hello: this.#hello, resumedAt, told: tally.total() });
    for (const one of this.#held) if (!isTold(one)) this.#letOn(one.message);
    this.#held = [];
  }

  cancel() {
    clearTimeout(this.#timer);
  }

  /** @param {Message} message */
  #hold(message) {
    // Warnings that still hold come again; an error ends the call by itself.
    if (message.type !== 'result' && message.type !== 'change') return;
    this.#held.push({ message, atMs: performance.now() });
    if (message.type !== 'result') return;
    this.#hasResult = true;
    const { label } = this.#latest();
    if (!this.#mustAgree || label === null || message.label === label) this.#settled.resolve();
    this.#timer ??= setTimeout(this.#settled.resolve, SETTLE_MS);
  }

  /**
   * The first change that a call tells is from silence to the voice it began with. To a listener of the old call that
   * is none, or one from the voice that was told there.
   * @param {Message} message
   */
  #letOn(message) {
    if (message.type === 'change' && !this.#knowsVoice) {
      this.#knowsVoice = true;
      if (message.to === this.#voice) return;
      if (this.#voice) message = { ...message, from: this.#voice };
    }
    this.#onmessage?.(message);
  }
}
