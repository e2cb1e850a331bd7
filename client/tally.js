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
  /** @type {import('./messages.js').Label} */
  #label = 'no_speech';

  /** @param {Message} message */
  observe(message) {
    if (message.type === 'hello') this.#close();
    else if (message.type === 'summary') this.#session = message;
    else if (message.type === 'result') this.#add(message);
  }

  /** @returns {Summary} everything so far */
  total() {
    return add(this.#sum, this.#session);
  }

  /** @param {import('./messages.js').Result} result */
  #add({ end, label }) {
    const session = this.#session;
    const stretch_s = Math.min(Math.max(0, end - session.duration), LONGEST_HOP_S);
    session.duration = Math.max(session.duration, end);
    if (label !== 'no_speech') {
      session.speech += stretch_s;
      session[label] += stretch_s;
      if (label !== this.#label) session.segments += 1;
    }
    this.#label = label;
  }

  #close() {
    this.#sum = this.total();
    this.#session = empty();
    this.#label = 'no_speech';
  }
}

/** @returns {Summary} */
function empty() {
  return { v: 1, type: 'summary', duration: 0, speech: 0, male: 0, female: 0, uncertain: 0, segments: 0 };
}

/**
 * @param {Summary} a
 * @param {Summary} b
 * @returns {Summary}
 */
function add(a, b) {
  const sum = empty();
  for (const key of /** @type {const} */ (['duration', 'speech', 'male', 'female', 'uncertain', 'segments'])) {
    sum[key] = a[key] + b[key];
  }
  return sum;
}
