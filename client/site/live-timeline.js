import { LevelMeter, Timeline } from 'voxgender';

import { wordOf, words } from './language.js';

/** @typedef {import('voxgender').Result} Result */
/** @typedef {import('voxgender').SessionStart} SessionStart */
/** @typedef {import('./call-clock.js').CallClock} CallClock */

/** A gap of more hops than this between two results stays a gap. */
const BRIDGED_HOPS = 4;
/** Time between two moves of the picture for people who asked for less motion. */
const CALM_FRAME_MS = 1_000;
/** The server repeats its warning every 10 s while it holds. */
const TOO_QUIET_MS = 12_000;

/** The last minute and the level, moving while a call runs. */
export class LiveTimeline {
  #canvas;
  #level;
  #clock;
  #timeline;
  #calm = matchMedia('(prefers-reduced-motion: reduce)');
  /** @type {LevelMeter | null} */
  #meter = null;
  #frame = 0;
  #hop = 0.2;
  #lastEnd = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #quiet;

  /** @param {{canvas: HTMLCanvasElement, level: HTMLElement, clock: CallClock}} parts */
  constructor({ canvas, level, clock }) {
    this.#canvas = canvas;
    this.#level = level;
    this.#clock = clock;
    this.#timeline = new Timeline(canvas, {
      nowWord: () => words().now,
      secondsWords: (count) => words().seconds(count),
    });
  }

  /** Write the axis in another language. */
  translate() {
    this.#timeline.draw(this.#clock.seconds);
  }

  clear() {
    this.#timeline.clear();
  }

  /** @param {MediaStreamTrack} track whose level is shown from now on */
  listenTo(track) {
    this.#meter ??= new LevelMeter();
    this.#meter.listenTo(track);
    if (!this.#frame) this.#move();
  }

  /** @param {SessionStart} session */
  startSession({ hello, resumedAt }) {
    this.#hop = hello.hop_ms / 1000;
    this.#lastEnd = resumedAt;
  }

  /** @param {Result} result */
  add({ end, label, confidence }) {
    const start = Math.max(this.#lastEnd, end - BRIDGED_HOPS * this.#hop);
    this.#timeline.addVoice(this.#clock.place(start), this.#clock.place(end), label, confidence);
    this.#lastEnd = end;
  }

  /** Say beside the level that the voice is too quiet. */
  sayTooQuiet() {
    this.#level.dataset['quiet'] = '';
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => delete this.#level.dataset['quiet'], TOO_QUIET_MS);
  }

  freeze() {
    clearTimeout(this.#quiet);
    delete this.#level.dataset['quiet'];
    clearTimeout(this.#frame);
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#meter?.close();
    this.#meter = null;
    this.#level.style.setProperty('--level', '0');
    this.#timeline.draw(this.#clock.seconds);
    const heard = Object.entries(this.#timeline.seconds())
      .filter(([label]) => label !== 'no_speech')
      .map(([label, seconds]) => `${wordOf(label)} ${Math.round(seconds)} s`);
    this.#canvas.setAttribute('aria-label', `${words().lastMinute}: ${heard.join(', ') || words().noSpeechHeard}`);
  }

  #move() {
    const next = () => this.#move();
    this.#frame = this.#calm.matches ? setTimeout(next, CALM_FRAME_MS) : requestAnimationFrame(next);
    const level = this.#meter?.read() ?? 0;
    this.#level.style.setProperty('--level', level.toFixed(3));
    this.#timeline.addLevel(this.#clock.seconds, level);
    this.#timeline.draw(this.#clock.seconds);
  }
}
