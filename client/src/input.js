import { VoxgenderError } from './errors.js';

/**
 * A track that is listened to, and how it ends. Some tracks end without an event: `stop()` fires none anywhere, and
 * Firefox none for a track that a script has ended. So it has to be looked at now and then.
 */
export class Input {
  /** @readonly */
  track;
  /** @readonly */
  owned;
  #onended;
  #over = false;

  /**
   * @param {MediaStreamTrack} track
   * @param {{owned: boolean, onended: () => void}} options `owned`: to be stopped on release. `onended` is called once
   */
  constructor(track, { owned, onended }) {
    this.track = track;
    this.owned = owned;
    this.#onended = onended;
    track.addEventListener('ended', this.look);
  }

  look = () => {
    if (this.#over || this.track.readyState !== 'ended') return;
    this.#over = true;
    this.#onended();
  };

  /** Leave the track. */
  release() {
    this.#over = true;
    this.track.removeEventListener('ended', this.look);
    if (this.owned) this.track.stop();
  }
}

/**
 * @param {MediaStream | MediaStreamTrack} source
 * @returns {MediaStreamTrack}
 * @throws {VoxgenderError} `no_audio`: there is no audio track, or it has ended
 */
export function audioTrackOf(source) {
  const track = 'getAudioTracks' in source ? source.getAudioTracks()[0] : source;
  if (track?.kind !== 'audio') throw new VoxgenderError('no_audio', 'There is no audio track to listen to');
  if (track.readyState === 'ended') throw new VoxgenderError('no_audio', 'The audio track has ended already');
  return track;
}
