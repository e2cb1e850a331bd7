// Runs in the browser's audio thread: a voice as it is captured, brought to 16 kHz, mono, in frames of 40 ms.
//
// This file imports nothing and nothing imports it: worklets load one file by its URL, which bundlers copy as it is.

const { AudioWorkletProcessor, registerProcessor, sampleRate } = /** @type {any} */ (globalThis);

const RATE_HZ = 16_000;
const FRAME_SAMPLES = 640;
/** The filter reaches over this many zero crossings of its sinc to either side. */
const ZERO_CROSSINGS = 16;
/** The filter is tabulated at this many places between two samples. */
const PHASES = 512;
/** Edge of the passband, as a share of half the lower rate; above it the filter falls off. */
const PASSBAND = 0.92;

/**
 * Changes the rate of a stream of samples by band-limited interpolation: a windowed sinc, as in J. O. Smith, "Digital Audio
 * Resampling Home Page".
 */
class Resampler {
  #step;
  #reach;
  #filters;
  /** @type {Float32Array} samples that the filter still needs */
  #history;
  /** Position of the next output in the history, in input samples. */
  #position;

  /**
   * @param {number} fromHz
   * @param {number} toHz
   */
  constructor(fromHz, toHz) {
    this.#step = fromHz / toHz;
    const cutoff = (PASSBAND * Math.min(fromHz, toHz)) / fromHz;
    this.#reach = Math.ceil(ZERO_CROSSINGS / cutoff);
    this.#filters = Array.from({ length: PHASES }, (_, phase) => filter(phase / PHASES, cutoff, this.#reach));
    this.#history = new Float32Array(this.#reach);
    this.#position = this.#reach;
  }

  /**
   * @param {Float32Array} samples
   * @returns {Float32Array} as many as are due by now
   */
  process(samples) {
    const history = new Float32Array(this.#history.length + samples.length);
    history.set(this.#history);
    history.set(samples, this.#history.length);
    const output = [];
    for (; Math.floor(this.#position) + 1 + this.#reach < history.length; this.#position += this.#step) {
      output.push(this.#interpolate(history));
    }
    const kept = Math.max(0, Math.floor(this.#position) - this.#reach);
    this.#history = history.slice(kept);
    this.#position -= kept;
    return Float32Array.from(output);
  }

  /** @param {Float32Array} history */
  #interpolate(history) {
    let whole = Math.floor(this.#position);
    let phase = Math.round((this.#position - whole) * PHASES);
    if (phase === PHASES) [whole, phase] = [whole + 1, 0];
    const taps = /** @type {Float32Array} */ (this.#filters[phase]);
    const first = whole - this.#reach;
    let sum = 0;
    for (let tap = 0; tap < taps.length; tap += 1) sum += (taps[tap] ?? 0) * (history[first + tap] ?? 0);
    return sum;
  }
}

/**
 * @param {number} offset of the output from the middle tap, 0 … 1 samples
 * @param {number} cutoff of half the input rate
 * @param {number} reach taps to either side
 * @returns {Float32Array} taps that add up to 1
 */
function filter(offset, cutoff, reach) {
  const taps = new Float32Array(2 * reach + 1);
  let sum = 0;
  for (let tap = 0; tap < taps.length; tap += 1) {
    const x = tap - reach - offset;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * cutoff * x) / (Math.PI * cutoff * x);
    const place = Math.max(-1, Math.min(1, x / (reach + 1)));
    // Blackman: 74 dB down beside the passband.
    const window = 0.42 + 0.5 * Math.cos(Math.PI * place) + 0.08 * Math.cos(2 * Math.PI * place);
    taps[tap] = sinc * window;
    sum += taps[tap] ?? 0;
  }
  return taps.map((value) => value / sum);
}

/** Energy of the mean beside what the louder channel brings into it; below, that channel is taken alone. */
const CANCELLED_BELOW = 0.4;
/** The same from which on the mean is taken again. */
const MIXED_ABOVE = 0.8;
/** Energy that a channel needs to replace the one in use. */
const LOUDER = 2;
const MEMORY_S = 0.2;

/**
 * Mixes two channels to one: to their mean, or, if they cancel each other out as a balanced line in a stereo jack does,
 * to the louder one. The server does the same with the sound that it decodes (`audio/mixing.py`).
 */
class Mixer {
  #energies = [0, 0];
  #mixed = 0;
  /** Weight of the left channel: 0.5 for the mean, else 0 or 1. */
  #left = 0.5;

  /**
   * @param {Float32Array[]} channels one or two
   * @returns {Float32Array}
   */
  process([left, right]) {
    const first = /** @type {Float32Array} */ (left);
    if (!right) return first;
    const decay = Math.exp(-first.length / (MEMORY_S * sampleRate));
    const mean = first.map((value, index) => (value + (right[index] ?? 0)) / 2);
    this.#energies = [first, right].map((channel, index) => decay * (this.#energies[index] ?? 0) + energy(channel));
    this.#mixed = decay * this.#mixed + energy(mean);
    const before = this.#left;
    this.#left = this.#choose();
    if (before === 0.5 && this.#left === 0.5) return mean;
    // A change is faded over the block.
    return first.map((value, index) => {
      const weight = before + ((this.#left - before) * (index + 1)) / first.length;
      return weight * value + (1 - weight) * (right[index] ?? 0);
    });
  }

  #choose() {
    const [left = 0, right = 0] = this.#energies;
    const share = (4 * this.#mixed) / Math.max(left, right, 1e-30);
    const louder = left >= right ? 1 : 0;
    if (this.#left === 0.5) return share < CANCELLED_BELOW && Math.max(left, right) > 0 ? louder : 0.5;
    if (share > MIXED_ABOVE) return 0.5;
    const inUse = this.#left ? left : right;
    return Math.max(left, right) > LOUDER * inUse ? louder : this.#left;
  }
}

/** @param {Float32Array} samples */
function energy(samples) {
  return samples.reduce((sum, value) => sum + value * value, 0);
}

class VoiceCapture extends AudioWorkletProcessor {
  #mixer = new Mixer();
  #resampler = new Resampler(sampleRate, RATE_HZ);
  #frame = new Float32Array(FRAME_SAMPLES);
  #filled = 0;
  #silence = new Float32Array(128);

  /** @param {Float32Array[][]} inputs */
  process([channels]) {
    // With nothing connected there is silence, and time goes on.
    const samples = channels?.length ? this.#mixer.process(channels) : this.#silence;
    for (const sample of this.#resampler.process(samples)) {
      this.#frame[this.#filled] = sample;
      this.#filled += 1;
      if (this.#filled === FRAME_SAMPLES) this.#send();
    }
    return true;
  }

  #send() {
    this.port.postMessage(this.#frame, [this.#frame.buffer]);
    this.#frame = new Float32Array(FRAME_SAMPLES);
    this.#filled = 0;
  }
}

registerProcessor('voxgender-capture', VoiceCapture);
