/** @typedef {import('./messages.js').Message} Message */
/** @typedef {import('./messages.js').Summary} Summary */

/** A hop is shorter; a longer gap between two results was not heard and is nobody's. */
const LONGEST_HOP_S = 1;

/**
 * Sums up a call that may run over several sessions, one after each loss of the connection. A session that ended
 * well tells its own summary; one that was lost is summed up from the results that came.
 */
export class Tally {
  #sum = empty();
  #session = empty();
  /** What another call has told of this session's audio. */
  #skipped = empty();
  /** Where this session's results begin, and how far they are, in seconds of its audio. */
  #from_s = 0;
  #end_s = 0;
  /** @type {import('./messages.js').Label} */
  #label = 'no_speech';

  /** @param {Message} message */
  observe(message) {
    if (message.type === 'hello') this.#begin(message.from ?? 0);
    else if (message.type === 'summary') this.#session = subtract(message, this.#skipped);
    else if (message.type === 'result') this.#add(message);
  }

  /**
   * Leave out of this session's own summary what the call before it has told.
   * @param {Summary} unheard
   */
  skip(unheard) {
    this.#skipped = unheard;
  }

  /** @returns {Summary} everything so far */
  total() {
    return add(this.#sum, this.#session);
  }

  /** @param {import('./messages.js').Result} result */
  #add({ end, label }) {
    const session = this.#session;
    const stretch_s = Math.min(Math.max(0, end - this.#end_s), LONGEST_HOP_S);
    this.#end_s = Math.max(this.#end_s, end);
    session.duration = this.#end_s - this.#from_s;
    if (label !== 'no_speech') {
      session.speech += stretch_s;
      session[label] += stretch_s;
      if (label !== this.#label) session.segments += 1;
    }
    this.#label = label;
  }

  /** @param {number} from_s */
  #begin(from_s) {
    this.#sum = this.total();
    this.#session = empty();
    this.#skipped = empty();
    this.#from_s = this.#end_s = from_s;
    this.#label = 'no_speech';
  }
}

/** @returns {Summary} */
function empty() {
  return { v: 1, type: 'summary', duration: 0, speech: 0, male: 0, female: 0, uncertain: 0, segments: 0 };
}

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
