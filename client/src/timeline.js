import { isCommon, labelColour } from './labels.js';

/** @typedef {import('./message-types.js').Label} Label */

const SPAN_S = 60;
const LEVEL_EVERY_S = 0.1;
const LABEL_LANE_PX = 20;
const LEVEL_LANE_SHARE = 0.2;
/** Times between ticks, of which the first is taken that leaves their texts apart. */
const TICKS_EVERY_S = [10, 20, 30];
const TICK_GAP_PX = 16;

/** @typedef {{start: number, end: number, label: Label, confidence: number}} LabelSpan */

/**
 * The last minute, to be looked at rather than read: a band above the line for a female voice, below it for a male
 * one, around it for an uncertain one, as high as the confidence; beneath, how loud it was. Which side a band is on
 * tells as much as its colour, so colour is never needed.
 *
 * Colours are the canvas's own custom properties `--male`, `--female`, `--uncertain`, `--line`, `--faint`.
 */
export class Timeline {
  #canvas;
  #context;
  /** @type {LabelSpan[]} */
  #spans = [];
  /** @type {{at: number, level: number}[]} */
  #levels = [];
  #observer;
  #nowWord;
  #secondsWords;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{nowWord?: () => string, secondsWords?: (count: number) => string}} [options] say "now" and some seconds in
   *   the page's language
   */
  constructor(canvas, { nowWord = () => 'now', secondsWords = (count) => `${count} s` } = {}) {
    this.#canvas = canvas;
    this.#nowWord = nowWord;
    this.#secondsWords = secondsWords;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    this.#observer = new ResizeObserver(() => this.draw(this.#now));
    this.#observer.observe(canvas);
  }

  #now = 0;

  /**
   * @param {number} start seconds, on the same clock as `draw`'s
   * @param {number} end
   * @param {Label} label
   * @param {number} confidence
   */
  addVoice(start, end, label, confidence) {
    this.#spans.push({ start, end, label, confidence });
    while ((this.#spans[0]?.end ?? Infinity) < end - SPAN_S) this.#spans.shift();
  }

  /**
   * @param {number} at seconds
   * @param {number} level 0 … 1
   */
  addLevel(at, level) {
    const last = this.#levels.at(-1);
    if (last && at - last.at < LEVEL_EVERY_S) {
      last.level = Math.max(last.level, level);
      return;
    }
    this.#levels.push({ at, level });
    while ((this.#levels[0]?.at ?? Infinity) < at - SPAN_S) this.#levels.shift();
  }

  clear() {
    this.#spans = [];
    this.#levels = [];
    this.draw(0);
  }

  close() {
    this.#observer.disconnect();
  }

  /** @returns {Record<Label, number>} seconds of each label in the last minute */
  seconds() {
    /** @type {Record<Label, number>} */
    const seconds = {};
    for (const { start, end, label } of this.#spans) seconds[label] = (seconds[label] ?? 0) + end - start;
    return seconds;
  }

  /** @param {number} now seconds, at the right edge */
  draw(now) {
    this.#now = now;
    const { width, height } = this.#fit();
    if (!width) return;
    const context = this.#context;
    const style = getComputedStyle(this.#canvas);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name);
    const x = (/** @type {number} */ at) => width - ((now - at) / SPAN_S) * width;
    const voices = (height - LABEL_LANE_PX) * (1 - LEVEL_LANE_SHARE);
    const middle = voices / 2;

    context.clearRect(0, 0, width, height);
    this.#drawTicks(width, height, colour('--line'), colour('--faint'), style.fontFamily);
    context.fillStyle = colour('--line');
    context.fillRect(0, middle - 0.5, width, 1);

    for (const band of bands(this.#spans)) {
      const { label } = band[0];
      context.fillStyle = isCommon(label) ? colour(`--${label}`) : labelColour(label);
      this.#fillBand(band, x, middle);
    }

    const floor = height - LABEL_LANE_PX;
    const tallest = floor - voices - 6;
    context.fillStyle = colour('--faint');
    context.globalAlpha = 0.45;
    context.beginPath();
    context.moveTo(x(this.#levels[0]?.at ?? now), floor);
    for (const { at, level } of this.#levels) context.lineTo(x(at), floor - Math.max(1, tallest * level));
    context.lineTo(x(this.#levels.at(-1)?.at ?? now), floor);
    context.fill();
    context.globalAlpha = 1;
  }

  /**
   * @param {Band} band
   * @param {(at: number) => number} x
   * @param {number} middle
   */
  #fillBand(band, x, middle) {
    const [first] = band;
    const last = band.at(-1) ?? first;
    const up = first.label === 'male' ? 0 : 1;
    const down = first.label === 'female' ? 0 : 1;
    const context = this.#context;
    /** @type {[at: number, reach: number][]} */
    const edge = band.map((span) => [(span.start + span.end) / 2, reach(span) * (middle - 4)]);
    edge.unshift([first.start, edge[0]?.[1] ?? 0]);
    edge.push([last.end, edge.at(-1)?.[1] ?? 0]);
    context.beginPath();
    for (const [at, tall] of edge) context.lineTo(x(at), middle - up * tall);
    for (const [at, tall] of edge.reverse()) context.lineTo(x(at), middle + down * tall);
    context.fill();
  }

  /**
   * @param {number} width
   * @param {number} height
   * @param {string} line
   * @param {string} ink
   * @param {string} font
   */
  #drawTicks(width, height, line, ink, font) {
    const context = this.#context;
    context.font = `11px ${font}`;
    context.textBaseline = 'bottom';
    const now = this.#nowWord();
    const taken = context.measureText(now).width + context.measureText(`−${this.#secondsWords(SPAN_S)}`).width / 2;
    const everyS = TICKS_EVERY_S.find((every) => (every / SPAN_S) * width - taken > TICK_GAP_PX) ?? SPAN_S;
    for (let agoS = 0; agoS <= SPAN_S; agoS += everyS) {
      const at = width - (agoS / SPAN_S) * width;
      context.fillStyle = line;
      context.fillRect(Math.min(at, width - 1), 0, 1, height - LABEL_LANE_PX);
      context.fillStyle = ink;
      context.textAlign = agoS === 0 ? 'right' : agoS === SPAN_S ? 'left' : 'center';
      context.fillText(agoS === 0 ? now : `−${this.#secondsWords(agoS)}`, at, height);
    }
  }

  /** Gives the canvas as many pixels as the screen has there. */
  #fit() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = window.devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return { width, height };
  }
}

/**
 * Spans of one label without a gap between them.
 * @typedef {[LabelSpan, ...LabelSpan[]]} Band
 */

/**
 * @param {readonly LabelSpan[]} spans
 * @returns {Band[]}
 */
function bands(spans) {
  /** @type {Band[]} */
  const all = [];
  for (const span of spans) {
    const last = all.at(-1)?.at(-1);
    if (span.label === 'no_speech') continue;
    if (last?.label === span.label && span.start - last.end < 0.01) all.at(-1)?.push(span);
    else all.push([span]);
  }
  return all;
}

/**
 * Returns how far a band reaches from the middle, 0 … 1. Confidence between two voices starts at a half, and means nothing
 * there.
 * @param {LabelSpan} span
 */
function reach({ label, confidence }) {
  if (label === 'uncertain') return 0.1;
  return 0.18 + 0.82 * Math.min(1, Math.max(0, 2 * confidence - 1));
}
