/** A file that is played as if it were a microphone, and heard by people at the page too. */
export class Recording {
  #context;
  #player;
  #url;
  #output;

  /**
   * @param {AudioContext} context
   * @param {HTMLAudioElement} player
   * @param {string} url of the object that the player plays
   */
  constructor(context, player, url) {
    this.#context = context;
    this.#player = player;
    this.#url = url;
    this.#output = context.createMediaStreamDestination();
    const source = context.createMediaElementSource(player);
    source.connect(this.#output);
    source.connect(context.destination);
  }

  /**
   * Open a file. It is read piece by piece as it plays, so its length does not matter.
   * @param {Blob} file audio, or video with sound
   * @returns {Promise<Recording | null>} not yet playing; null if the browser cannot read it
   */
  static async open(file) {
    const url = URL.createObjectURL(file);
    const player = new Audio();
    const readable = new Promise((resolve, reject) => {
      player.addEventListener('canplay', resolve, { once: true });
      player.addEventListener('error', reject, { once: true });
    });
    player.src = url;
    try {
      await readable;
    } catch {
      URL.revokeObjectURL(url);
      return null;
    }
    return new Recording(new AudioContext(), player, url);
  }

  /** @returns {MediaStreamTrack} */
  get track() {
    return /** @type {MediaStreamTrack} */ (this.#output.stream.getAudioTracks()[0]);
  }

  /**
   * Play it from its start.
   * @returns {Promise<void>} resolves at its end, or when it stops for another reason
   */
  async play() {
    const over = new Promise((resolve) => {
      this.#player.addEventListener('ended', resolve, { once: true });
      this.#player.addEventListener('error', resolve, { once: true });
      this.#player.addEventListener('emptied', resolve, { once: true });
    });
    await this.#context.resume();
    // Closing it before it has begun to play rejects.
    await this.#player.play().catch(() => {});
    if (!this.#player.paused) await over;
  }

  close() {
    this.#player.pause();
    this.#player.removeAttribute('src');
    this.#player.load();
    URL.revokeObjectURL(this.#url);
    this.track.stop();
    this.#context.close().catch(() => {});
  }
}
