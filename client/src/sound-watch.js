import { MicrophoneError } from './errors.js';

/** With nothing but zeros for so long a microphone is dead. */
const DEAD_MS = 3_000;
const LOOK_EVERY_MS = 900;
const WINDOW_SAMPLES = 32_768;
/** Time after which the window is full of the track. */
const FIRST_LOOK_S = 1;

/**
 * Notices that a track gives nothing though it is live. Browsers mute a microphone that a telephone call has taken; one
 * that has hung, or whose headset has changed its profile, gives exact zeros, which no room does.
 */
export class SoundWatch {
  #onproblem;
  #zeros;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {AnalyserNode | null} */
  #analyser = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  #samples = new Float32Array(0);
  #lookedAtMs = -Infinity;
  /** Time since which nothing is heard. */
  #deadAtMs = Infinity;
  #isDead = false;
  /** @type {MicrophoneError | null} */
  #problem = null;

  /**
   * @param {(problem: MicrophoneError | null) => void} onproblem told when one begins, and null when it is over
   * @param {{zeros?: boolean}} [options] whether exact zeros count
   */
  constructor(onproblem, { zeros = true } = {}) {
    this.#onproblem = onproblem;
    this.#zeros = zeros && 'AudioContext' in globalThis;
  }

  /** @param {MediaStreamTrack | null} track a problem of the one before is over only when this one gives sound */
  listenTo(track) {
    this.#forget();
    this.#track = track;
    this.#deadAtMs = Infinity;
    this.#isDead = false;
    for (const type of ['mute', 'unmute']) track?.addEventListener(type, this.#hear);
    if (track && this.#zeros) this.#tryToAnalyse(track);
    if (!this.#zeros && !track?.muted) this.#tell(null);
  }

  /**
   * Look at the track.
   * @returns {boolean} whether nothing has been heard of it for some time already
   */
  look() {
    const nowMs = performance.now();
    if (nowMs - this.#lookedAtMs > LOOK_EVERY_MS) {
      this.#lookedAtMs = nowMs;
      this.#lookCloser(nowMs);
    }
    return this.#isDead;
  }

  close() {
    this.#forget();
    this.#context?.close().catch(() => {});
    this.#context = null;
  }

  #hear = () => {
    if (this.#track?.muted) {
      this.#tell(new MicrophoneError('interrupted', 'The browser or another program has muted the microphone'));
    } else if (this.#problem?.code === 'interrupted') {
      this.#tell(null);
    }
  };

  /** @param {number} nowMs */
  #lookCloser(nowMs) {
    const muted = this.#track?.muted ?? false;
    // A track that its owner disabled gives zeros, as it should.
    const silent = !muted && this.#track?.enabled === true && this.#givesZeros();
    this.#deadAtMs = muted || silent ? Math.min(this.#deadAtMs, nowMs) : Infinity;
    // Found with a closer look alone, so that a microphone is not opened anew before anybody was told why.
    this.#isDead = nowMs - this.#deadAtMs >= DEAD_MS;
    if (!muted && !silent) this.#tell(null);
    if (silent && this.#isDead) {
      this.#tell(new MicrophoneError('silent', 'The microphone gives no sound at all'));
    }
  }

  #givesZeros() {
    // A context that sleeps hears nothing of any track.
    if (
      !this.#analyser ||
      !this.#source ||
      this.#context?.state !== 'running' ||
      this.#context.currentTime < FIRST_LOOK_S
    )
      return false;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    return this.#samples.every((sample) => sample === 0);
  }

  /**
   * Look at a track's samples, where the browser gives them. Firefox gives none to a context of another sample rate, which a new
   * one has after another loudspeaker was plugged in; the track is heard by the server all the same.
   * @param {MediaStreamTrack} track
   */
  #tryToAnalyse(track) {
    try {
      this.#analyse(track);
    } catch {
      this.#source = null;
    }
  }

  /** @param {MediaStreamTrack} track */
  #analyse(track) {
    this.#context ??= new AudioContext();
    this.#context.resume().catch(() => {});
    this.#analyser ??= new AnalyserNode(this.#context, { fftSize: WINDOW_SAMPLES });
    if (!this.#samples.length) this.#samples = new Float32Array(WINDOW_SAMPLES);
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
  }

  /** @param {MicrophoneError | null} problem */
  #tell(problem) {
    if (problem?.code === this.#problem?.code) return;
    this.#problem = problem;
    this.#onproblem(problem);
  }

  #forget() {
    this.#source?.disconnect();
    this.#source = null;
    for (const type of ['mute', 'unmute']) this.#track?.removeEventListener(type, this.#hear);
    this.#track = null;
  }
}
