import { write } from './dom.js';
import { words } from './language.js';

/** @typedef {import('voxgender').VoxgenderClient} VoxgenderClient */

const ASK_EVERY_MS = 2_000;
/** Each result counts for this much of the mean. */
const WEIGHT = 1 / 8;

/** Shows how old the label is that is read: the server's latency and the way to it and back. */
export class LatencyReadout {
  #element;
  #client;
  /** @type {number | null} */
  #latencyMs = null;
  #roundTripMs = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #asking;

  /**
   * @param {HTMLElement} element
   * @param {Pick<VoxgenderClient, 'roundTripMs'>} client
   */
  constructor(element, client) {
    this.#element = element;
    this.#client = client;
  }

  clear() {
    this.stop();
    this.#latencyMs = null;
    write(this.#element, '–');
  }

  /** Ask the client how long the way is, from now on. */
  start() {
    this.stop();
    this.#ask();
    this.#asking = setInterval(() => this.#ask(), ASK_EVERY_MS);
  }

  stop() {
    clearInterval(this.#asking);
  }

  /** @param {{latency_ms: number}} result */
  add({ latency_ms: latencyMs }) {
    this.#latencyMs ??= latencyMs;
    this.#latencyMs += (latencyMs - this.#latencyMs) * WEIGHT;
    this.show();
  }

  /** Write the latency in the language in use. */
  show() {
    if (this.#latencyMs === null) return;
    write(this.#element, words().milliseconds(Math.round(this.#latencyMs + this.#roundTripMs)));
  }

  async #ask() {
    this.#roundTripMs = (await this.#client.roundTripMs()) ?? this.#roundTripMs;
  }
}
