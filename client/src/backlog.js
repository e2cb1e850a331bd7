import { tellsResults } from './call-options.js';
import { toldUntilS } from './messages.js';

/** @typedef {import('./message-types.js').Message} Message */

/** Sound that would be heard later than this is dropped, so that no voice is heard seconds late. */
const LONGEST_S = 1.5;
/** Once sound is dropped it is until so little is on its way. */
const SHORT_S = 0.5;
/** The server tells of a hop at its end: a whole one has been heard and not told yet, and the next one needs time, too. */
const BEYOND_HOP_S = 1;
/** Times that are closer are the same; the server rounds them. */
const NEAR_S = 0.01;

/**
 * Sound on its way to the server, and the clock of what got there. A socket hides much of what the network holds, so the
 * server's results tell how much has been heard; in a call that tells none, what the socket admits to has to do. Sound that is
 * dropped for lateness leaves a gap in the live clock, not in the server's: times of messages are brought from that to the
 * live one.
 */
export class Backlog {
  #sentS = 0;
  #heardS = 0;
  #dropping = false;
  #hopS = 0;
  #tellsResults = true;
  /** @type {{atS: number, lengthS: number}[]} dropped sound, on the server's clock, oldest first */
  #gaps = [];

  /** @param {number} startS where the server's clock began */
  constructor(startS) {
    this.#sentS = this.#heardS = startS;
  }

  /** Seconds of the live clock that were sent or dropped, where the call tells no results; else 0. */
  get untoldS() {
    return this.#tellsResults ? 0 : this.#live(this.#sentS, false);
  }

  /** True while sound is being dropped. */
  get dropping() {
    return this.#dropping;
  }

  /**
   * Take note of a frame that is to be sent.
   * @param {number} lengthS
   * @param {number} queuedS what the socket itself says it holds
   * @returns {boolean} whether to send it
   */
  admit(lengthS, queuedS) {
    const unheardS = this.#tellsResults ? this.#sentS - this.#heardS : 0;
    const mayBeS = this.#dropping ? this.#hopS + SHORT_S : Math.max(LONGEST_S, this.#hopS + BEYOND_HOP_S);
    this.#dropping = unheardS > mayBeS || queuedS > (this.#dropping ? SHORT_S : LONGEST_S);
    if (this.#dropping) this.#drop(lengthS);
    else this.#sentS += lengthS;
    return !this.#dropping;
  }

  /**
   * Bring a message to the live clock. `hello` says how often the server tells what it has heard, if at all.
   * @template {Message} M
   * @param {M} message
   * @returns {M}
   */
  place(message) {
    if (message.type === 'hello') {
      this.#hopS = message.hop_ms / 1_000;
      this.#tellsResults = tellsResults(message);
    }
    this.#heardS = Math.max(this.#heardS, toldUntilS(message));
    if (!this.#gaps.length) return message;
    const placed = { ...message };
    for (const name of /** @type {const} */ (['start', 'end', 'at'])) {
      const time = Reflect.get(placed, name);
      if (typeof time === 'number') Reflect.set(placed, name, this.#live(time, name === 'end'));
    }
    return placed;
  }

  /**
   * @param {number} time of the server's clock
   * @param {boolean} isEnd an end at a gap lies before it, a start behind it
   */
  #live(time, isEnd) {
    let live = time;
    for (const { atS, lengthS } of this.#gaps) if (time > atS + (isEnd ? NEAR_S : -NEAR_S)) live += lengthS;
    return live;
  }

  /** @param {number} lengthS */
  #drop(lengthS) {
    const last = this.#gaps.at(-1);
    if (last?.atS === this.#sentS) last.lengthS += lengthS;
    else this.#gaps.push({ atS: this.#sentS, lengthS });
  }
}
