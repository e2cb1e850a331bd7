// Listening in on a call that exists already, without the call noticing.

import { VoxgenderError } from './errors.js';

/** Neither `enabled` nor another track of the call's is told by an event. Looking this often is sooner than a syllable. */
const LOOK_EVERY_MS = 50;

/**
 * The track that a call uses now; null or undefined while it has none.
 * @typedef {() => MediaStreamTrack | null | undefined} CurrentTrack
 */

/**
 * A clone of the track that a call uses, silent whenever the call is muted.
 *
 * The clone is the tap's own: it may be sent, replaced and stopped with no effect on the call. A call changes its
 * microphone and mutes without telling anybody, so the tap looks. Hidden tabs look about once a second, a client that
 * listens to the tap with each message too, and by a WebSocket with each frame of sound. The sure way is to call `sync()` in
 * the very handler that mutes. A call that cannot be asked counts as muted.
 *
 * Events: `track` when another clone, or none, is to be listened to; `ended` once the tap is over.
 */
export class VoiceTap extends EventTarget {
  #current;
  #isMuted;
  #isOver;
  /** @type {MediaStreamTrack | null} */
  #original = null;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  #over = false;
  #timer;

  /**
   * @param {CurrentTrack} current
   * @param {{isMuted: () => boolean, isOver?: () => boolean}} options
   */
  constructor(current, { isMuted, isOver = () => false }) {
    super();
    this.#current = current;
    this.#isMuted = isMuted;
    this.#isOver = isOver;
    this.#timer = setInterval(() => this.sync(), LOOK_EVERY_MS);
    this.sync();
  }

  /** The clone to listen to now; null while the call has no track. */
  get track() {
    return this.#track;
  }

  /** True once the tap has been stopped. */
  get over() {
    return this.#over;
  }

  /** Mirror the call's track and its mute now. */
  sync = () => {
    if (this.#over) return;
    const original = attempt(this.#current, null) ?? null;
    const live = original?.readyState === 'live' ? original : null;
    const isMuted = attempt(this.#isMuted, true) || !live?.enabled;
    if (live !== this.#original || (live && this.#track?.readyState === 'ended')) this.#follow(live, isMuted);
    else if (this.#track) this.#track.enabled = !isMuted;
    // `stop()` on a track fires no event.
    if (this.#isOver()) this.stop();
  };

  stop() {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#timer);
    this.#original?.removeEventListener('ended', this.sync);
    end(this.#track);
    this.dispatchEvent(new Event('ended'));
  }

  /**
   * @param {MediaStreamTrack | null} original
   * @param {boolean} isMuted
   */
  #follow(original, isMuted) {
    const before = this.#track;
    this.#original?.removeEventListener('ended', this.sync);
    this.#original = original;
    original?.addEventListener('ended', this.sync);
    // At its end a tap keeps its last clone, so that its listeners see that end.
    if (!original && this.#isOver()) return;
    this.#track = original?.clone() ?? null;
    if (this.#track) this.#track.enabled = !isMuted;
    this.dispatchEvent(new Event('track'));
    before?.stop();
  }
}

/**
 * Tap a track that a call uses, or whichever track it uses at the moment.
 *
 *     const voice = tap(() => publication.track?.mediaStreamTrack, { muted: () => publication.isMuted });
 *     client.start(voice);
 *
 * Given a function, the tap follows the track that it returns and ends when it is told to. Given a track, it ends with that.
 * @template {MediaStreamTrack | CurrentTrack} T
 * @param {T} track stays the call's, untouched
 * @param {{muted?: () => boolean, mirrorMuteOf?: MediaStreamTrack | RTCRtpSender}} [options] what mutes the call besides
 *   `enabled` of the track: `muted` tells so, or `mirrorMuteOf` is a track or a sender that is muted instead. A sender
 *   counts as muted, too, while it has no track
 * @throws {VoxgenderError} `no_audio`: there is no track, which a function may return later
 * @returns {T extends MediaStreamTrack ? VoiceTap & {readonly track: MediaStreamTrack} : VoiceTap} give it to a
 *   `VoxgenderClient`; call `stop()` when done
 */
export function tap(track, { muted = () => false, mirrorMuteOf } = {}) {
  if (!track) {
    throw new VoxgenderError('no_audio', 'There is no track to tap yet: give tap() a function that returns it');
  }
  const isMuted = () => muted() || (mirrorMuteOf ? !enabled(mirrorMuteOf) : false);
  const given = /** @type {MediaStreamTrack | CurrentTrack} */ (track);
  const voice =
    typeof given === 'function'
      ? new VoiceTap(given, { isMuted })
      : new VoiceTap(() => given, { isMuted, isOver: () => given.readyState === 'ended' });
  return /** @type {any} */ (voice);
}

/** @param {MediaStreamTrack | RTCRtpSender} source */
function enabled(source) {
  const track = 'track' in source ? source.track : source;
  return track?.enabled ?? false;
}

/**
 * @template T
 * @param {() => T} ask
 * @param {T} otherwise where asking throws
 */
function attempt(ask, otherwise) {
  try {
    return ask();
  } catch {
    return otherwise;
  }
}

/**
 * Listeners of the track learn it as with any track that ends.
 * @param {MediaStreamTrack | null} track
 */
function end(track) {
  if (!track || track.readyState === 'ended') return;
  track.stop();
  track.dispatchEvent(new Event('ended'));
}
