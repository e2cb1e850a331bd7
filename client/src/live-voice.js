import { tellsResults } from './call-options.js';
import { VoxgenderClient } from './voxgender-client.js';

/** @typedef {import('./events.js').State} State */
/** @typedef {import('./message-types.js').Label} Label */
/** @typedef {import('./message-types.js').Result} Result */
/** @typedef {import('./session.js').Transport} Transport */
/** @typedef {MediaStream | MediaStreamTrack | import('./tap.js').VoiceTap} Source */
/** @typedef {ConstructorParameters<typeof VoxgenderClient>[1]} ClientOptions */

/**
 * The state of a client at one moment.
 * @typedef {object} Snapshot
 * @property {State} state
 * @property {Transport | null} transport
 * @property {import('./errors.js').VoxgenderError | null} error
 * @property {Label | null} label of the latest result, or, in a call that tells no results, of the voice that it
 *   changed to last; null while nothing is listened to
 * @property {Result | null} result the latest one
 */

/** @type {Readonly<Snapshot>} */
const IDLE = { state: 'idle', transport: null, error: null, label: null, result: null };

/** A client for frameworks, which want one object that is another one whenever something has changed. */
export class LiveVoice {
  /** @readonly */
  client;
  /** @type {Readonly<Snapshot>} */
  #snapshot = IDLE;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** @type {Source | null} */
  #source = null;
  #hasResults = true;

  /**
   * @param {string | URL} endpoint
   * @param {ClientOptions} [options]
   */
  constructor(endpoint, options) {
    this.client = new VoxgenderClient(endpoint, options);
    this.client.addEventListener('result', ({ detail }) => this.#set({ result: detail, label: detail.label }));
    this.client.addEventListener('hello', ({ detail }) => (this.#hasResults = tellsResults(detail)));
    this.client.addEventListener('change', ({ detail }) => {
      if (!this.#hasResults) this.#set({ label: detail.to });
    });
    this.client.addEventListener('state', ({ detail: { state, transport, error } }) => {
      const isOver = state === 'stopped' || state === 'failed';
      this.#set({ state, transport, error, ...(isOver ? { result: null, label: null } : {}) });
    });
  }

  snapshot = () => this.#snapshot;

  /**
   * @param {() => void} listener called after each change
   * @returns {() => void} ends that
   */
  subscribe = (listener) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** Listen to the microphone. An error is told by the snapshot. */
  start = () => {
    this.client.start().catch(() => {});
  };

  stop = () => {
    this.#source = null;
    return this.client.stop();
  };

  /**
   * Listen to whatever there is: another source takes over with no interruption, none is the end.
   * @param {Source | null | undefined} source
   */
  follow(source) {
    if (source === this.#source || (!source && !this.#source)) return;
    const before = this.#source;
    this.#source = source ?? null;
    if (!source) this.client.stop();
    else if (!before) this.client.start(source).catch(() => {});
    else this.client.replaceTrack(source).catch((error) => this.#begin(source, error));
  }

  /**
   * Begin anew with a source that nothing could take over.
   * @param {Source} source
   * @param {import('./errors.js').VoxgenderError} why
   */
  #begin(source, why) {
    if (source !== this.#source) return;
    // The source before is not to be told as this one, which has ended.
    if (why.code === 'no_audio') this.client.stop();
    this.client.start(source).catch(() => {});
  }

  /** @param {Partial<Snapshot>} change */
  #set(change) {
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const listener of this.#listeners) listener();
  }
}
