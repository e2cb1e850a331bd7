/** @typedef {import('./message-types.js').Message} Message */
/** @typedef {import('./message-types.js').Summary} Summary */

/** A longer gap between two results was not heard and is nobody's, where a hop is not as long. */
const LONGEST_STRETCH_S = 1;
const LONGEST_STRETCH_HOPS = 2;

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
  #longestS = LONGEST_STRETCH_S;
  /** @type {import('./message-types.js').Label} */
  #label = 'no_speech';

  /** @param {Message} message */
  observe(message) {
    if (message.type === 'hello') {
      this.setHop(message.hop_ms);
      this.#begin(0, empty());
    } else if (message.type === 'summary') this.#session = subtract(message, this.#skipped);
    else if (message.type === 'result') this.hear(message.label, message.end, this.#longestS);
  }

  /** @param {number} hopMs time between two results from now on */
  setHop(hopMs = 0) {
    this.#longestS = Math.max(LONGEST_STRETCH_S, (LONGEST_STRETCH_HOPS * hopMs) / 1_000);
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

  /**
   * Count as one label's all that has not been counted yet.
   * @param {import('./message-types.js').Label} label
   * @param {number} endS the moment up to which it is counted, in seconds of the session's audio
   * @param {number} longestS of a longer stretch the rest is nobody's
   */
  hear(label, endS, longestS = Infinity) {
    const session = this.#session;
    const stretchS = Math.min(Math.max(0, endS - this.#endS), longestS);
    this.#endS = Math.max(this.#endS, endS);
    session.duration = this.#endS - this.#fromS;
    if (label !== 'no_speech') {
      session.speech += stretchS;
      if (isOwn(label)) session[label] += stretchS;
      else session.others = sum(session.others, { [label]: stretchS });
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
  return { v: 1, type: 'summary', duration: 0, speech: 0, male: 0, female: 0, uncertain: 0, segments: 0, others: {} };
}

/**
 * Return whether a summary has a field for the label; all others are in `others`.
 * @param {string} label
 * @returns {label is 'male' | 'female' | 'uncertain'}
 */
function isOwn(label) {
  return label === 'male' || label === 'female' || label === 'uncertain';
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
  const both = empty();
  for (const figure of FIGURES) both[figure] = a[figure] + b[figure];
  both.others = sum(a.others, b.others);
  return both;
}

/**
 * The sums of several voices that were heard at the same time.
 * @param {readonly Summary[]} summaries
 * @returns {Summary} its duration is the longest of theirs
 */
export function addUp(summaries) {
  const all = summaries.reduce(add, empty());
  all.duration = Math.max(0, ...summaries.map((summary) => summary.duration));
  return all;
}

/**
 * @param {Summary} a
 * @param {Summary} b
 * @returns {Summary} at least 0 each
 */
function subtract(a, b) {
  const rest = empty();
  for (const figure of FIGURES) rest[figure] = Math.max(0, a[figure] - b[figure]);
  rest.others = sum(a.others, b.others, -1);
  return rest;
}

/**
 * @param {Record<string, number>} [a] seconds by label
 * @param {Record<string, number>} [b]
 * @param {1 | -1} sign of `b`
 * @returns {Record<string, number>} at least 0 each
 */
function sum(a = {}, b = {}, sign = 1) {
  const labels = Object.keys({ ...a, ...b });
  return Object.fromEntries(labels.map((label) => [label, Math.max(0, (a[label] ?? 0) + sign * (b[label] ?? 0))]));
}
