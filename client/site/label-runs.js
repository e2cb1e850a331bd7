/** @typedef {import('voxgender').Label} Label */

/**
 * A stretch with one label: of results that follow each other, or a segment of the server.
 * @typedef {object} LabelRun
 * @property {Label} label
 * @property {number} start seconds
 * @property {number} end seconds
 * @property {number} confidence the mean of its results, or that of the segment
 * @property {number} results 0 once the run is final
 * @property {boolean} final true once the server has told the segment, and nothing will change it
 */

/** Runs kept, several hours of talk. */
const KEPT = 10_000;
/** A shorter gap between two segments is not told as a pause. */
const SHORTEST_PAUSE_S = 0.3;
/** Time after a segment during which results keep its label, in case that the voice goes on. */
const KEPT_LABEL_S = 0.6;

/** The course of a call: runs of results while they come, replaced by the segments that the server makes of them. */
export class LabelRuns {
  /** @type {LabelRun[]} oldest first */
  all = [];

  /**
   * Add a result.
   * @param {number} end seconds
   * @param {Label} label
   * @param {number} confidence
   * @returns {LabelRun} the run that the result belongs to
   */
  add(end, label, confidence) {
    const last = this.all.at(-1);
    if (last && !last.final && last.label === label) {
      last.end = Math.max(last.end, end);
      last.results += 1;
      last.confidence += (confidence - last.confidence) / last.results;
      return last;
    }
    if (last?.final && last.results === 0 && last.label === label && end - last.end < KEPT_LABEL_S) return last;
    const run = { label, start: last?.end ?? end, end, confidence, results: 1, final: false };
    // A result may come after the segment that it is a part of.
    if (!last || end > last.end) this.#push(run);
    return run;
  }

  /**
   * Put a segment in the place of the results that it was made of.
   * @param {{start: number, end: number, label: Label, confidence: number}} segment
   */
  settle({ start, end, label, confidence }) {
    const later = [];
    while (this.all.length && !this.all.at(-1)?.final) {
      const run = /** @type {LabelRun} */ (this.all.pop());
      if (run.end > end && run.label !== label) later.unshift({ ...run, start: Math.max(run.start, end) });
    }
    const pauseStart = this.all.at(-1)?.end ?? 0;
    if (start - pauseStart >= SHORTEST_PAUSE_S) {
      const pause = { start: pauseStart, end: start, confidence: 1, results: 0 };
      this.#push({ ...pause, label: 'no_speech', final: true });
    }
    this.#push({ start: Math.max(start, pauseStart), end, label, confidence, results: 0, final: true });
    this.all.push(...later);
  }

  /** Let nothing change what there is: the call is over, or goes on in another session. */
  freeze() {
    for (const run of this.all) run.final = true;
  }

  /** @param {LabelRun} run */
  #push(run) {
    this.all.push(run);
    if (this.all.length > KEPT) this.all.shift();
  }
}
