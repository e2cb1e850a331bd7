import { isCommon, isVoice, labelColour } from 'voxgender';

import { write } from './dom.js';
import { minutes, percent } from './format.js';
import { wordOf } from './language.js';
import { Viewport, ticks } from './viewport.js';

/** @typedef {import('./label-runs.js').LabelRun} LabelRun */
/** @typedef {import('./label-runs.js').LabelRuns} LabelRuns */

const AXIS_PX = 18;
const TICK_PX = 70;
const ZOOM_STEP = 2;
const WHEEL_STEP = 1.25;

/** The whole call at a glance, to be zoomed and pointed at. */
export class CallTimeline {
  #canvas;
  #context;
  #readout;
  #buttons;
  #runs;
  #viewport = new Viewport();
  /** @type {number | null} place of the pointer, 0 … 1 */
  #cursor = null;
  /** @type {number | null} */
  #dragged = null;
  #frame = 0;

  /**
   * @param {{canvas: HTMLCanvasElement, readout: HTMLElement, zoomIn: HTMLButtonElement, zoomOut: HTMLButtonElement}} parts
   * @param {() => LabelRuns} runs
   */
  constructor({ canvas, readout, zoomIn, zoomOut }, runs) {
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    this.#readout = readout;
    this.#buttons = { zoomIn, zoomOut };
    this.#runs = runs;
    zoomIn.addEventListener('click', () => this.#zoom(ZOOM_STEP));
    zoomOut.addEventListener('click', () => this.#zoom(1 / ZOOM_STEP));
    canvas.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener('pointerdown', (event) => this.#grab(event));
    canvas.addEventListener('pointermove', (event) => this.#point(event));
    canvas.addEventListener('pointerup', () => (this.#dragged = null));
    canvas.addEventListener('pointerleave', () => this.#leave());
    canvas.addEventListener('keydown', (event) => this.#press(event));
    new ResizeObserver(() => this.#drawSoon()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#drawSoon());
  }

  clear() {
    this.#viewport.reset();
    this.#cursor = null;
    this.show();
  }

  /** Show the runs there are now. */
  show() {
    this.#viewport.grow(this.#runs().all.at(-1)?.end ?? 0);
    this.#drawSoon();
  }

  /** @param {number} factor */
  #zoom(factor) {
    this.#viewport.zoom(factor, this.#cursor ?? 0.5);
    this.#drawSoon();
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    if (!event.deltaY || !this.#runs().all.length) return;
    // At the whole call, the wheel scrolls the page on.
    if (event.deltaY > 0 && this.#viewport.isWhole) return;
    event.preventDefault();
    this.#viewport.zoom(event.deltaY < 0 ? WHEEL_STEP : 1 / WHEEL_STEP, this.#share(event));
    this.#drawSoon();
  }

  /** @param {PointerEvent} event */
  #grab(event) {
    this.#canvas.setPointerCapture(event.pointerId);
    this.#dragged = this.#share(event);
    this.#point(event);
  }

  /** @param {PointerEvent} event */
  #point(event) {
    const share = this.#share(event);
    if (this.#dragged !== null) {
      this.#viewport.pan(this.#dragged - share);
      this.#dragged = share;
    }
    this.#cursor = share;
    this.#drawSoon();
  }

  #leave() {
    if (document.activeElement === this.#canvas) return;
    this.#cursor = null;
    this.#drawSoon();
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    /** @type {Record<string, () => void>} */
    const keys = {
      '+': () => this.#viewport.zoom(ZOOM_STEP, this.#cursor ?? 0.5),
      '-': () => this.#viewport.zoom(1 / ZOOM_STEP, this.#cursor ?? 0.5),
      ArrowLeft: () => this.#step(-0.01),
      ArrowRight: () => this.#step(0.01),
    };
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
    this.#drawSoon();
  }

  /** @param {number} share to move the cursor by; at an edge the picture moves */
  #step(share) {
    const next = (this.#cursor ?? 0.5) + share;
    if (next < 0 || next > 1) this.#viewport.pan(share);
    this.#cursor = Math.min(1, Math.max(0, next));
  }

  /** @param {MouseEvent} event */
  #share(event) {
    const { left, width } = this.#canvas.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - left) / Math.max(1, width)));
  }

  #drawSoon() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width) return;
    const context = this.#context;
    const ratio = window.devicePixelRatio;
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(this.#canvas);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name);
    const { from, to } = this.#viewport;
    const x = (/** @type {number} */ at) => ((at - from) / (to - from)) * width;
    const middle = (height - AXIS_PX) / 2;

    context.font = `11px ${style.fontFamily}`;
    context.textBaseline = 'bottom';
    for (const at of ticks(from, to, width / TICK_PX)) {
      context.fillStyle = colour('--line');
      context.fillRect(x(at), 0, 1, height - AXIS_PX);
      context.fillStyle = colour('--faint');
      context.textAlign = x(at) < 20 ? 'left' : x(at) > width - 20 ? 'right' : 'center';
      context.fillText(minutes(at).replace(/\.0$/, ''), x(at), height);
    }
    context.fillStyle = colour('--line');
    context.fillRect(0, middle - 0.5, width, 1);
    for (const run of this.#runs().all) {
      if (run.label === 'no_speech' || run.end < from || run.start > to) continue;
      const [up, down] = reach(run);
      const left = x(run.start);
      context.fillStyle = isCommon(run.label) ? colour(`--${run.label}`) : labelColour(run.label);
      context.fillRect(left, middle * (1 - up), Math.max(1, x(run.end) - left), middle * (up + down));
    }
    if (this.#cursor !== null) {
      context.fillStyle = colour('--ink');
      context.fillRect(Math.min(this.#cursor * width, width - 1), 0, 1, height - AXIS_PX);
    }
    this.#describe(from, to);
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #describe(from, to) {
    const { all } = this.#runs();
    this.#buttons.zoomIn.disabled = !all.length || to - from <= 5;
    this.#buttons.zoomOut.disabled = this.#viewport.isWhole;
    const at = this.#cursor === null ? null : from + this.#cursor * (to - from);
    const run = at === null ? undefined : all.find(({ start, end }) => start <= at && at < end);
    write(this.#readout, at === null || !all.length ? '' : reading(at, run));
  }
}

/**
 * Return the words for one moment.
 * @param {number} at seconds
 * @param {LabelRun} [run] that has it
 */
export function reading(at, run) {
  if (!run) return minutes(at);
  return [minutes(at), wordOf(run.label), ...(isVoice(run.label) ? [percent(run.confidence)] : [])].join(' · ');
}

/**
 * Return how far a run reaches above and below the middle, 0 … 1.
 * @param {LabelRun} run
 * @returns {[up: number, down: number]}
 */
function reach({ label, confidence }) {
  if (label === 'uncertain') return [0.12, 0.12];
  const tall = 0.18 + 0.78 * Math.min(1, Math.max(0, 2 * confidence - 1));
  return [label === 'male' ? 0 : tall, label === 'female' ? 0 : tall];
}
