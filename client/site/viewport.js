/** Least seconds shown. */
const CLOSEST_S = 5;

/** The part of a call that a picture shows, in seconds. It grows with the call until it is zoomed. */
export class Viewport {
  #duration = 0;
  /** @type {{from: number, to: number} | null} null while all is shown */
  #part = null;

  reset() {
    this.#duration = 0;
    this.#part = null;
  }

  /** @param {number} seconds that the call has lasted */
  grow(seconds) {
    this.#duration = seconds;
  }

  get from() {
    return this.#part?.from ?? 0;
  }

  get to() {
    return this.#part?.to ?? Math.max(CLOSEST_S, this.#duration);
  }

  get isWhole() {
    return this.#part === null;
  }

  /**
   * Zoom so that the time at a place stays there.
   * @param {number} factor above 1 to come closer
   * @param {number} [share] place in the picture, 0 … 1
   */
  zoom(factor, share = 0.5) {
    const span = this.to - this.from;
    const wanted = Math.max(CLOSEST_S, span / factor);
    const from = this.from + (span - wanted) * share;
    this.#show(from, from + wanted);
  }

  /** @param {number} share of the part shown, to the right where positive */
  pan(share) {
    if (!this.#part) return;
    const move = share * (this.to - this.from);
    this.#show(this.from + move, this.to + move);
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #show(from, to) {
    const span = to - from;
    if (span >= this.#duration) {
      this.#part = null;
      return;
    }
    const start = Math.min(Math.max(0, from), this.#duration - span);
    this.#part = { from: start, to: start + span };
  }
}

/**
 * Choose round times for the axis.
 * @param {number} from seconds
 * @param {number} to
 * @param {number} most ticks
 * @returns {number[]}
 */
export function ticks(from, to, most) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];
  const step = steps.find((seconds) => (to - from) / seconds <= most) ?? 604_800;
  const all = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) all.push(at);
  return all;
}
