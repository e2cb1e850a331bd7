/** @typedef {import('voxgender').Label} Label */

/**
 * Results that follow each other with one label.
 * @typedef {object} LabelRun
 * @property {Label} label
 * @property {number} start seconds
 * @property {number} end seconds
 * @property {number} confidence the mean of its results
 * @property {number} results
 */

const KEPT = 200;

/** The text stream: one line for each run of a label, the newest growing with every result. */
export class LabelRuns {
  /** @type {LabelRun[]} oldest first */
  all = [];

  /**
   * @param {number} end seconds
   * @param {Label} label
   * @param {number} confidence
   * @returns {{run: LabelRun, isNew: boolean}} where the result belongs
   */
  add(end, label, confidence) {
    const last = this.all.at(-1);
    if (last?.label === label) {
      last.end = end;
      last.results += 1;
      last.confidence += (confidence - last.confidence) / last.results;
      return { run: last, isNew: false };
    }
    const run = { label, start: last?.end ?? end, end, confidence, results: 1 };
    this.all.push(run);
    if (this.all.length > KEPT) this.all.shift();
    return { run, isNew: true };
  }
}
