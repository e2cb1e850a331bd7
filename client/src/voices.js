// The voices of a client: one as a rule, or those of a room by their names.

import { VoxgenderError } from './errors.js';
import { NOTHING_TOLD, latestAfter } from './handover.js';
import { isOfVoice } from './messages.js';
import { deferred } from './promises.js';
import { NOTHING_HEARD, Tally, addUp } from './tally.js';

/** Voices that a server takes in one call. */
export const MAX_VOICES = 8;

/** @typedef {import('./message-types.js').Message} Message */
/** @typedef {import('./message-types.js').Summary} Summary */
/** @typedef {import('./input.js').Input} Input */
/** @typedef {import('./session.js').Tracks} Tracks */

/** Characters of a name that the server keeps. */
const LONGEST_NAME = 64;
const UNUSABLE = /[\p{Cc}\p{Cs}]/u;

/** One voice: its input, and what was told of it. */
export class Voice {
  /** @type {Input | null} */
  input = null;
  tally = new Tally();
  latest = NOTHING_TOLD;
  /** True once a result has come since it joined the session. */
  isHeard = false;
  /** Resolves when the server has summed it up. */
  summed = /** @type {ReturnType<typeof deferred<void>>} */ (deferred());

  /** @param {string | null} name null of an only voice */
  constructor(name) {
    this.name = name;
  }

  /** @param {Message} message that is about it */
  observe(message) {
    if (message.type === 'hello') this.isHeard = false;
    // A voice that joins later begins in the middle of the room's clock.
    if (message.type === 'result' && this.name !== null && !this.isHeard) this.join(message.start);
    this.tally.observe(message);
    this.latest = latestAfter(this.latest, message);
    if (message.type === 'summary') this.summed.resolve();
  }

  /** @param {number} atS seconds of the room's clock */
  join(atS) {
    this.isHeard = true;
    this.tally.resume({ resumedAt: atS, told: NOTHING_HEARD });
  }

  rejoin() {
    this.isHeard = false;
    this.latest = NOTHING_TOLD;
    this.summed = deferred();
  }
}

/** The voices of a client from its start to its stop. */
export class Voices {
  /** @type {Map<string | null, Voice>} */
  #present = new Map();
  /** Those that have left, for what is told of them last. @type {Map<string | null, Voice>} */
  #left = new Map();
  #isRoom;
  /** @type {import('./message-types.js').Hello | null} of the session that is listened to */
  #hello = null;

  /** @param {boolean} isRoom whether they have names */
  constructor(isRoom) {
    this.#isRoom = isRoom;
  }

  get isRoom() {
    return this.#isRoom;
  }

  get size() {
    return this.#present.size;
  }

  /** @returns {Tracks} */
  get tracks() {
    return new Map([...this.#present].map(([name, voice]) => [name, voice.input?.track ?? null]));
  }

  [Symbol.iterator]() {
    return this.#present.values();
  }

  /**
   * @param {string | null} name
   * @returns {Voice | undefined}
   */
  get(name) {
    return this.#present.get(name);
  }

  /**
   * @param {string | null} name
   * @returns {Voice}
   * @throws {VoxgenderError} `bad_name`: no voice can have it, or one has it already; `too_many_voices`
   */
  add(name) {
    if (name !== null) checkName(name);
    if (this.#present.size >= MAX_VOICES) {
      throw new VoxgenderError(
        'too_many_voices',
        `A call takes ${MAX_VOICES} voices: begin another one for the others`,
      );
    }
    if (this.#present.has(name)) throw new VoxgenderError('bad_name', `There is a voice ${name} already`);
    // One that comes back goes on with its sums.
    const voice = this.#left.get(name) ?? new Voice(name);
    voice.rejoin();
    voice.tally.setHop(this.#hello?.hop_ms);
    this.#left.delete(name);
    this.#present.set(name, voice);
    return voice;
  }

  /**
   * @param {string | null} name
   * @returns {Voice | null}
   */
  remove(name) {
    const voice = this.#present.get(name);
    if (!voice) return null;
    voice.input?.release();
    voice.input = null;
    this.#present.delete(name);
    this.#left.set(name, voice);
    return voice;
  }

  /**
   * The voice that a message is about; undefined where it is about none, or about all of them.
   * @param {Message} message
   * @returns {Voice | undefined}
   */
  of(message) {
    if (!this.#isRoom) return this.#present.get(null);
    if (!isOfVoice(message)) return undefined;
    const name = message.name ?? '';
    return this.#present.get(name) ?? this.#left.get(name);
  }

  /**
   * Take note of what has been told.
   * @param {Message} message
   */
  observe(message) {
    if (message.type === 'hello') this.greet(message);
    const about = this.#isRoom && message.type === 'hello' ? this.#present.values() : [this.of(message)];
    for (const voice of about) voice?.observe(message);
  }

  /**
   * Count by the hop of another session, those that join it later too.
   * @param {import('./message-types.js').Hello} hello
   */
  greet(hello) {
    this.#hello = hello;
    for (const voice of this.#present.values()) voice.tally.setHop(hello.hop_ms);
  }

  /** Forget what was told last, because another session begins. */
  forget() {
    for (const voice of this.#present.values()) voice.latest = NOTHING_TOLD;
  }

  /** Look after the inputs, some of which end without an event. */
  look() {
    for (const voice of this.#present.values()) voice.input?.look();
  }

  release() {
    for (const voice of this.#present.values()) {
      voice.input?.release();
      voice.input = null;
    }
  }

  /** @returns {ReadonlyMap<string, Summary>} of each voice of a room, those that have left too */
  totals() {
    const named = this.#isRoom ? [...this.#left, ...this.#present] : [];
    return new Map(named.map(([name, voice]) => [name ?? '', voice.tally.total()]));
  }

  /** @returns {Summary} of all voices; its duration is the longest of theirs */
  total() {
    return addUp([...this.#left.values(), ...this.#present.values()].map((voice) => voice.tally.total()));
  }
}

/**
 * @param {string} name
 * @throws {VoxgenderError} `bad_name`
 */
function checkName(name) {
  if (name && name === name.trim() && [...name].length <= LONGEST_NAME && !UNUSABLE.test(name)) return;
  throw new VoxgenderError('bad_name', `A voice's name has 1 to ${LONGEST_NAME} characters, and no space at its ends`);
}
