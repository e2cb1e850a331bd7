/**
 * The page's clock: seconds since the call went live. The times of each session on the server are put on it, as a session
 * that begins after a loss counts from 0 again.
 */
export class CallClock {
  #nowMs;
  /** @type {number | null} */
  #originMs = null;
  /** Added to a time of the session it gives the page's. */
  #offset = Infinity;

  /** @param {() => number} [nowMs] a clock in milliseconds */
  constructor(nowMs = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Seconds since the call went live, 0 before. */
  get seconds() {
    return this.#originMs === null ? 0 : (this.#nowMs() - this.#originMs) / 1000;
  }

  reset() {
    this.#originMs = null;
    this.startSession();
  }

  /** The call is live; only the first time counts. */
  start() {
    this.#originMs ??= this.#nowMs();
  }

  startSession() {
    this.#offset = Infinity;
  }

  /**
   * Learn from a result that has just come. Some take longer on their way than others: the quickest one tells best when
   * its audio was.
   * @param {number} end seconds of the session
   */
  observe(end) {
    this.#offset = Math.min(this.#offset, this.seconds - end);
  }

  /**
   * @param {number} time seconds of the session, of which a result has been observed
   * @returns {number} seconds of the page
   */
  place(time) {
    return time + this.#offset;
  }
}
