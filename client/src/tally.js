/** @typedef {import('./message-types.js').Message} Message */
/** @typedef {import('./message-types.js').Summary} Summary */

/** A hop is shorter; a longer gap between two results was not heard and is nobody's. */
const LONGEST_HOP_S = 1;

/**
 * Sums up a call that may run over several sessions, one after each loss of the connection. A session that ended
 * well tells its own summary; one that was lost is summed up from the results that came.
 */
export class Tally {
  #sum = empty();
  #session = empty();
  /** The part of this session's own summary that another call has told. */
  #skipped = empty();
  /** Begin and end of this session's results, in seconds of its audio. */
  #fromS = 0;
  #endS = 0;
  /** @type {import('./message-types.js').Label} */
  #label = 'no_speech';

  /** @param {Message} message */
  observe(message) {
    if (message.type === 'hello') this.#begin(0, empty());
    else if (message.type === 'summary') this.#session = subtract(message, this.#skipped);
    else if (message.type === 'result') this.#add(message);
  }

  /**
   * Go on with another session in the middle of its audio.
   * @param {{resumedAt: number, told: Summary}} resumption from where, in seconds of its audio, and the sums up to there
   */
  resume({ resumedAt, told }) {
    this.#begin(resumedAt, told);
  }

  /** @returns {Summary} everything so far */
  total() {
    return add(this.#sum, this.#session);
  }

  /** @param {import('./message-types.js').Result} result */
  #add({ end, label }) {
    const session = this.#session;
    const stretchS = Math.min(Math.max(0, end - this.#endS), LONGEST_HOP_S);
    this.#endS = Math.max(this.#endS, end);
    session.duration = this.#endS - this.#fromS;
    if (label !== 'no_speech') {
      session.speech += stretchS;
      session[label] += stretchS;
      if (label !== this.#label) session.segments += 1;
    }
    this.#label = label;
  }

  /**
   * @param {number} fromS
   * @param {Summary} skipped
   */
  #begin(fromS, skipped) {
    this.#sum = this.total();
    this.#session = empty();
    this.#skipped = skipped;
    this.#fromS = this.#endS = fromS;
    this.#label = 'no_speech';
  }
}

/** @returns {Summary} */
function empty() {
  return { v: 1, type: 'summary', duration: 0, speech: 0, male: 0, female: 0, uncertain: 0, segments: 0 };
}

/** @type {Readonly<Summary>} */
export const NOTHING_HEARD = empty();

const FIGURES = /** @type {const} */ (['duration', 'speech', 'male', 'female', 'uncertain', 'segments']);

/**
 * @param {Summary} a
 * @param {Summary} b
 * @returns {Summary}
 */
function add(a, b) {
  const sum = empty();
  for (const figure of FIGURES) sum[figure] = a[figure] + b[figure];
  return sum;
}

/**
 * @param {Summary} a
 * @param {Summary} b
 * @returns {Summary} at least 0 each
 */
function subtract(a, b) {
  const rest = empty();
  for (const figure of FIGURES) rest[figure] = Math.max(0, a[figure] - b[figure]);
  return rest;
}
