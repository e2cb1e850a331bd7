import { underPolicy } from './content-policy.js';
import { VoxgenderError } from './errors.js';
import { wait } from './promises.js';

export const CAPTURE_RATE_HZ = 16_000;
export const FRAME_MS = 40;

/** Without a click on the page, browsers let an audio context sleep. */
const WAKE_MS = 1_000;

/** Addresses from which the module has come: if it does not come again, its server is away for now. @type {Set<string>} */
const loaded = new Set();

/** The samples of a track, 16 kHz mono, frame by frame, taken in the browser's audio thread. */
export class Capture {
  #context;
  #node;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;

  /**
   * @param {AudioContext} context with the worklet's module
   * @param {(frame: Float32Array<ArrayBuffer>) => void} onframe
   */
  constructor(context, onframe) {
    this.#context = context;
    this.#node = new AudioWorkletNode(context, 'voxgender-capture', {
      // Two at most, which the worklet mixes: two that cancel each other out would be silence.
      channelCount: 2,
      channelCountMode: 'clamped-max',
      numberOfOutputs: 1,
    });
    this.#node.port.onmessage = ({ data }) => onframe(data);
    // It gives silence; without a way to the loudspeaker nobody would ask it for any.
    this.#node.connect(context.destination);
    // As after a telephone call.
    context.onstatechange = () => void context.resume().catch(() => {});
  }

  static isPossible() {
    return 'AudioContext' in globalThis && 'AudioWorkletNode' in globalThis;
  }

  /**
   * Begin to capture, silence at first.
   * @param {string | URL} workletUrl of capture-worklet.js
   * @param {(frame: Float32Array<ArrayBuffer>) => void} onframe takes 640 samples each 40 ms
   * @returns {Promise<Capture>}
   * @throws {VoxgenderError} `no_worklet`: the module cannot be had; `content_policy`: the page's policy forbids it;
   *   `asleep`: the page has to be clicked first
   */
  static async open(workletUrl, onframe) {
    const context = new AudioContext({ latencyHint: 'interactive' });
    try {
      const waking = context.resume();
      await underPolicy(workletUrl, () => context.audioWorklet.addModule(workletUrl), { isModule: true });
      loaded.add(String(workletUrl));
      await Promise.race([waking, wait(WAKE_MS)]);
      if (context.state !== 'running') {
        throw new VoxgenderError('asleep', 'The browser gives sound to pages that were clicked', { heals: true });
      }
      return new Capture(context, onframe);
    } catch (cause) {
      context.close().catch(() => {});
      if (cause instanceof VoxgenderError) throw cause;
      const heals = loaded.has(String(workletUrl));
      throw new VoxgenderError('no_worklet', `The module ${workletUrl} cannot be loaded: ${String(cause)}`, {
        heals,
        cause,
      });
    }
  }

  /** @param {MediaStreamTrack | null} track null for silence */
  replaceTrack(track) {
    this.#source?.disconnect();
    this.#source = track && this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source?.connect(this.#node);
  }

  close() {
    this.#source?.disconnect();
    this.#node.port.onmessage = null;
    this.#context.onstatechange = null;
    this.#context.close().catch(() => {});
  }
}
