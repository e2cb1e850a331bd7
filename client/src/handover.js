// From one call to the next with no gap: the new call listens until it hears what the old one hears.

import { tellsResults } from './call-options.js';
import { isOfVoice, toldUntilS } from './messages.js';
import { deferred } from './promises.js';
import { Tally } from './tally.js';

/** @typedef {import('./message-types.js').Message} Message */
/** @typedef {import('./message-types.js').Hello} Hello */
/** @typedef {import('./message-types.js').Label} Label */
/** @typedef {import('./message-types.js').Summary} Summary */

/** A new call begins in the middle of a voice. For so long at most it may say something else than the old one. */
const AGREEMENT_MS = 1_500;

/**
 * The latest that a call has told.
 * @typedef {object} Latest
 * @property {Label | null} label of its latest result
 * @property {number} atMs when that came, on the clock of `performance.now`
 * @property {Label | null} voice that it last changed to
 * @property {number} voiceAtMs when that came
 */

/** @type {Readonly<Latest>} */
export const NOTHING_TOLD = { label: null, atMs: 0, voice: null, voiceAtMs: 0 };

/**
 * @param {Readonly<Latest>} latest
 * @param {Message} message that was told after it
 * @returns {Readonly<Latest>}
 */
export function latestAfter(latest, message) {
  if (message.type === 'result') return { ...latest, label: message.label, atMs: performance.now() };
  if (message.type === 'change') return { ...latest, voice: message.to, voiceAtMs: performance.now() };
  return latest;
}

/**
 * The sums that the old call has told of one voice, as the new call counts them.
 * @typedef {object} ToldOf
 * @property {number} resumedAt seconds of the new call's audio that the old one has told
 * @property {Summary} told that much
 */
/**
 * The point at which a new call takes over from an old one.
 * @typedef {object} Resumption
 * @property {Hello} hello of the new call
 * @property {number} resumedAt seconds of the new call's audio that the old one has told
 * @property {ReadonlyMap<string | null, ToldOf>} told by the voice's name; null is the only voice
 */

/** @typedef {{message: Message, atMs: number}} Held a message that is held back, and when it came */

/** The part of one voice in a handover. */
class Part {
  hasResult = false;
  agrees = false;
  /** @type {Label | null} */
  #voice = null;
  #knowsVoice = false;

  /**
   * Go on from the voice that the old call told last. All changes that the new call has held back count as one, from that
   * voice to the one that it hears now: in between the old call has told its own.
   * @param {Readonly<Latest>} latest of the old call
   * @param {Held} [last] change of the new call that was held back
   * @returns {Message | null} the one change to tell in place of all; null for none
   */
  begin({ voice, voiceAtMs }, last) {
    this.#voice = voice;
    if (!last) return null;
    // The old call was the quicker one. The new one is about to hear the same, and its next change is the first that is told.
    if (voiceAtMs > last.atMs && performance.now() - voiceAtMs < AGREEMENT_MS) return null;
    return this.translate(last.message);
  }

  /**
   * The first change that a call tells is from silence to the voice it began with. To a listener of the old call that
   * is none, or one from the voice that was told there.
   * @param {Message} message
   * @returns {Message | null} null where it is not told
   */
  translate(message) {
    if (message.type !== 'change' || this.#knowsVoice) return message;
    this.#knowsVoice = true;
    if (message.to === this.#voice) return null;
    return { ...message, from: this.#voice ?? 'no_speech' };
  }
}

/** Holds back the messages of a new call until it can take over, and then lets on those that the old one has not told. */
export class Handover {
  #latestOf;
  #nameOf;
  /** @type {Hello | null} */
  #hello = null;
  #greetedAtMs = 0;
  /** @type {Held[]} */
  #held = [];
  /** @type {Map<string | null, Part>} */
  #parts = new Map();
  /** True if the new call has to agree with the old one before it takes over. */
  #mustAgree = true;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #ready = /** @type {ReturnType<typeof deferred<void>>} */ (deferred());
  /** @type {((message: Message) => void) | null} */
  #onmessage = null;

  /**
   * @param {object} voices
   * @param {readonly (string | null)[]} voices.names of the voices; null is an only one
   * @param {(name: string | null) => Readonly<Latest>} voices.latestOf that the old call has told of one by now
   */
  constructor({ names, latestOf }) {
    this.#latestOf = latestOf;
    for (const name of names) this.#parts.set(name, new Part());
    this.#nameOf = (/** @type {Message} */ message) =>
      this.#parts.has(null) || !isOfVoice(message) ? null : (message.name ?? null);
  }

  /** Resolves when the new call may take over: it hears the same as the old one, or has had time enough to. */
  get ready() {
    return this.#ready.promise;
  }

  /** @param {Message} message of the new call */
  take(message) {
    if (this.#onmessage) this.#letOn(message);
    else if (message.type === 'hello') this.#greet(message);
    else this.#hold(message);
  }

  /** Let the new call take over with its first result: nothing is heard of the old one any more. */
  hurry() {
    this.#mustAgree = false;
    if ([...this.#parts.values()].some((part) => part.hasResult)) this.#ready.resolve();
  }

  /** @param {Hello} hello */
  #greet(hello) {
    this.#hello = hello;
    this.#greetedAtMs = performance.now();
    // A call that tells no results cannot show that it hears the same.
    if (!tellsResults(hello)) this.#timer ??= setTimeout(this.#ready.resolve, AGREEMENT_MS);
  }

  /**
   * End the old call's part: the new one is told from now on.
   * @param {{onresume: (resumption: Resumption) => void, onmessage: (message: Message) => void}} listeners
   */
  finish({ onresume, onmessage }) {
    clearTimeout(this.#timer);
    const isTold = (/** @type {Held} */ { message, atMs }) =>
      message.type === 'result' && atMs <= this.#latestOf(this.#nameOf(message)).atMs;
    /** @type {Map<string | null, ToldOf>} */
    const told = new Map();
    // One change of each voice is told in place of all that were held.
    /** @type {Map<Message, Message | null>} */
    const replaced = new Map();
    for (const [name, part] of this.#parts) {
      const own = this.#held.filter(({ message }) => this.#nameOf(message) === name);
      const changes = own.filter(({ message }) => message.type === 'change');
      told.set(name, this.#toldOf(own.filter(isTold), changes));
      for (const { message } of changes) replaced.set(message, null);
      const last = changes.at(-1);
      if (last) replaced.set(last.message, part.begin(this.#latestOf(name), last));
      else part.begin(this.#latestOf(name));
    }
    const untold = this.#held.filter((one) => !isTold(one)).map(({ message }) => message);
    this.#held = [];
    this.#onmessage = onmessage;
    const resumedAt = Math.max(0, ...[...told.values()].map((one) => one.resumedAt));
    if (this.#hello) onresume({ hello: this.#hello, resumedAt, told });
    for (const message of untold) {
      const one = replaced.has(message) ? replaced.get(message) : message;
      if (one) onmessage(one);
    }
  }

  /**
   * Reckon what the old call has told of one voice, as the new one counts it. Without results the clock tells how long both
   * have listened, and the new call's changes which voice it heard meanwhile.
   * @param {readonly Held[]} results of the new call that the old one has told
   * @param {readonly Held[]} changes of the new call
   * @returns {ToldOf}
   */
  #toldOf(results, changes) {
    const tally = new Tally();
    let resumedAt = 0;
    if (this.#hello) tally.observe(this.#hello);
    for (const { message } of results) {
      tally.observe(message);
      resumedAt = toldUntilS(message);
    }
    if (this.#hello && !tellsResults(this.#hello)) {
      resumedAt = (performance.now() - this.#greetedAtMs) / 1_000;
      /** @type {Label} */
      let label = 'no_speech';
      for (const { message } of changes) {
        if (message.type !== 'change') continue;
        tally.hear(label, message.at);
        label = message.to;
      }
      tally.hear(label, resumedAt);
    }
    return { resumedAt, told: tally.total() };
  }

  cancel() {
    clearTimeout(this.#timer);
  }

  /** @param {Message} message */
  #hold(message) {
    // Warnings that still hold come again; an error ends the call by itself.
    if (message.type !== 'result' && message.type !== 'change') return;
    this.#held.push({ message, atMs: performance.now() });
    const part = this.#parts.get(this.#nameOf(message));
    if (message.type !== 'result' || !part) return;
    part.hasResult = true;
    const { label } = this.#latestOf(this.#nameOf(message));
    if (label === null || message.label === label) part.agrees = true;
    const parts = [...this.#parts.values()];
    if (!this.#mustAgree || parts.every((one) => one.agrees)) this.#ready.resolve();
    this.#timer ??= setTimeout(this.#ready.resolve, AGREEMENT_MS);
  }

  /** @param {Message} message */
  #letOn(message) {
    const part = this.#parts.get(this.#nameOf(message));
    const translated = part ? part.translate(message) : message;
    if (translated) this.#onmessage?.(translated);
  }
}
