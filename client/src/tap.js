// Listening in on a call that exists already, without the call noticing.

/** `enabled` tells nobody that it changed. Looking at it this often costs nothing and is sooner than a syllable. */
const LOOK_EVERY_MS = 50;

/**
 * A clone of a call's track that is silent whenever the call is muted, and ends when the call's track does.
 *
 * The clone is the tap's own: it may be sent, replaced and stopped with no effect on the call. What mutes the call
 * is `enabled` of its track, which has no event, so the tap looks. Hidden tabs look about once a second;
 * where not even a second may slip through, call `sync()` in the very handler that mutes.
 */
export class VoiceTap {
  /** @readonly */
  track;
  #original;
  #muteOf;
  #timer;

  /**
   * @param {MediaStreamTrack} original
   * @param {MediaStreamTrack | RTCRtpSender} muteOf
   */
  constructor(original, muteOf) {
    this.#original = original;
    this.#muteOf = muteOf;
    this.track = original.clone();
    this.#timer = setInterval(() => this.sync(), LOOK_EVERY_MS);
    original.addEventListener('ended', this.#stop);
    this.sync();
  }

  /** Mirror the call's mute now. */
  sync() {
    // `stop()` on the original fires no event either.
    if (this.#original.readyState === 'ended') this.stop();
    const muteOf = 'track' in this.#muteOf ? this.#muteOf.track : this.#muteOf;
    this.track.enabled = muteOf?.enabled ?? false;
  }

  stop() {
    clearInterval(this.#timer);
    this.#original.removeEventListener('ended', this.#stop);
    if (this.track.readyState === 'ended') return;
    this.track.stop();
    // Listeners of the clone learn it as with any track that ends.
    this.track.dispatchEvent(new Event('ended'));
  }

  #stop = () => this.stop();
}

/**
 * Tap a track that a call uses.
 * @param {MediaStreamTrack} track stays the call's, untouched
 * @param {{mirrorMuteOf?: MediaStreamTrack | RTCRtpSender}} [options] whose mute to mirror, `track`'s own where left
 *   out; a sender counts as muted, too, while it has no track
 * @returns {VoiceTap} give its `track` to a `VoxgenderClient`; call `stop()` when done
 */
export function tap(track, { mirrorMuteOf = track } = {}) {
  return new VoiceTap(track, mirrorMuteOf);
}
