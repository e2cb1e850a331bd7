const FLOOR_DB = -60;

/** Measures how loud a track is. Closing the meter leaves the track alone. */
export class LevelMeter {
  #context = new AudioContext({ latencyHint: 'interactive' });
  #analyser = new AnalyserNode(this.#context, { fftSize: 1024 });
  #samples = new Float32Array(this.#analyser.fftSize);
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;

  /** @param {MediaStreamTrack} track */
  listenTo(track) {
    this.#source?.disconnect();
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
    // A context made before the user did anything starts asleep.
    this.#context.resume().catch(() => {});
  }

  /** @returns {number} RMS of the last 20 ms or so in dB below full scale, brought to 0 (-60 dB) … 1 (0 dB) */
  read() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let energy = 0;
    for (const sample of this.#samples) energy += sample * sample;
    const levelDb = 10 * Math.log10(energy / this.#samples.length + 1e-12);
    return Math.min(1, Math.max(0, 1 - levelDb / FLOOR_DB));
  }

  close() {
    this.#source?.disconnect();
    this.#context.close().catch(() => {});
  }
}
