// A client listens to one input: a track that it was given, a tap of a call, or a microphone of its own.

import { MicrophoneError, VoxgenderError } from './errors.js';
import { openMicrophone } from './microphone.js';
import { SoundWatch } from './sound-watch.js';

/** @typedef {import('./tap.js').VoiceTap} VoiceTap */

/**
 * @typedef {object} Input
 * @property {MediaStreamTrack | null} track to listen to now
 * @property {() => void} look tracks end, are muted and go dead without an event: see whether this one did
 * @property {() => void} release leave the track, and stop it where it is the input's own
 */
/**
 * @typedef {object} InputListener
 * @property {(track: MediaStreamTrack | null) => void} ontrack another track, or none, is to be listened to
 * @property {(problem: MicrophoneError | null) => void} onproblem nothing is heard of the track; null: it is again
 * @property {(error: VoxgenderError | null) => void} onend for good; null where the track's owner ended it
 */

/** With no sound for so long, an own microphone is opened anew; again after as long where that did not help. */
const REOPEN_EVERY_MS = 10_000;

/** Errors of a microphone that is opened anew which may pass while one waits. */
const PASSING = new Set(['busy', 'unavailable']);

/**
 * A track of somebody else's, which is never touched.
 * @implements {Input}
 */
class GivenTrack {
  /** @readonly */
  track;
  #listener;
  #watch;
  #over = false;

  /**
   * @param {MediaStreamTrack} track
   * @param {InputListener} listener
   */
  constructor(track, listener) {
    this.track = track;
    this.#listener = listener;
    // Zeros of a track that may be anything mean nothing.
    this.#watch = new SoundWatch(listener.onproblem, { zeros: false });
    this.#watch.listenTo(track);
    track.addEventListener('ended', this.look);
  }

  look = () => {
    if (this.#over || this.track.readyState !== 'ended') return;
    this.release();
    this.#listener.onend(null);
  };

  release() {
    this.#over = true;
    this.#watch.close();
    this.track.removeEventListener('ended', this.look);
  }
}

/**
 * A tap, whose track changes with the call's.
 * @implements {Input}
 */
class TappedVoice {
  #tap;
  #listener;
  #watch;

  /**
   * @param {VoiceTap} tap
   * @param {InputListener} listener
   */
  constructor(tap, listener) {
    this.#tap = tap;
    this.#listener = listener;
    this.#watch = new SoundWatch(listener.onproblem, { zeros: false });
    this.#watch.listenTo(tap.track);
    tap.addEventListener('track', this.#follow);
    tap.addEventListener('ended', this.#end);
  }

  get track() {
    return this.#tap.track;
  }

  look() {
    this.#tap.sync();
  }

  release() {
    this.#watch.close();
    this.#tap.removeEventListener('track', this.#follow);
    this.#tap.removeEventListener('ended', this.#end);
  }

  #follow = () => {
    this.#watch.listenTo(this.track);
    this.#listener.ontrack(this.track);
  };

  #end = () => {
    this.release();
    this.#listener.onend(null);
  };
}

/**
 * A microphone of the client's own. One that is unplugged gives way to another one, and one that gives no sound, as
 * after a telephone call or when the device has hung, is opened anew.
 * @implements {Input}
 */
export class Microphone {
  #listener;
  #watch;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {string | null} */
  #deviceId = null;
  /** Number of the latest attempt to open an input; earlier ones are given up. */
  #turn = 0;
  /** True if it gave nothing when it was last live. */
  #hung = false;
  #reopening = false;
  #released = false;
  #reopenedAtMs = -Infinity;

  /** @param {InputListener} listener */
  constructor(listener) {
    this.#listener = listener;
    this.#watch = new SoundWatch(listener.onproblem);
  }

  get track() {
    return this.#track;
  }

  /**
   * Open a microphone and listen to it from now on; after `release`, none.
   * @param {string | null} deviceId null for the browser's choice
   * @throws {MicrophoneError} it cannot be opened; the one in use stays
   */
  async use(deviceId) {
    if (this.#released) return;
    const turn = (this.#turn += 1);
    const track = await openMicrophone(deviceId);
    if (turn !== this.#turn) {
      track.stop();
      return;
    }
    this.#leave();
    this.#deviceId = deviceId;
    this.#track = track;
    this.#hung = false;
    track.addEventListener('ended', this.look);
    this.#watch.listenTo(track);
    this.#listener.ontrack(track);
  }

  look = () => {
    if (!this.#track || this.#reopening || this.#released) return;
    const live = this.#track.readyState === 'live';
    if (live) this.#hung = this.#watch.look();
    if (live && !this.#hung) return;
    if (!this.#hung || this.#mayReopen()) this.#reopen();
  };

  release() {
    this.#turn += 1;
    this.#released = true;
    this.#watch.close();
    this.#leave();
  }

  #leave() {
    this.#track?.removeEventListener('ended', this.look);
    this.#track?.stop();
  }

  /** Phones give the microphone to the page in sight only. */
  #mayReopen() {
    return (
      performance.now() - this.#reopenedAtMs > REOPEN_EVERY_MS && globalThis.document?.visibilityState !== 'hidden'
    );
  }

  async #reopen() {
    this.#reopening = true;
    this.#reopenedAtMs = performance.now();
    // A device that has hung is only opened anew once nobody holds it.
    this.#leave();
    try {
      await this.use(this.#deviceId);
    } catch (thrown) {
      const error = /** @type {MicrophoneError} */ (thrown);
      if (this.#released || (this.#hung && PASSING.has(error.code))) return;
      const unplugged = new MicrophoneError('unplugged', 'The microphone was unplugged');
      this.#listener.onend(error.code === 'not_found' ? unplugged : error);
    } finally {
      this.#reopening = false;
    }
  }
}

/**
 * @param {MediaStream | MediaStreamTrack | VoiceTap} source
 * @param {InputListener} listener
 * @returns {Input}
 * @throws {VoxgenderError} `no_audio`: there is nothing to listen to, or it has ended
 */
export function inputOf(source, listener) {
  if (!source || typeof source !== 'object') throw new VoxgenderError('no_audio', 'There is no track to listen to');
  if (!('sync' in source)) return new GivenTrack(audioTrackOf(source), listener);
  if (source.over) throw new VoxgenderError('no_audio', 'The tap has been stopped already');
  return new TappedVoice(source, listener);
}

/**
 * @param {MediaStream | MediaStreamTrack} source
 * @returns {MediaStreamTrack}
 */
function audioTrackOf(source) {
  const track = 'getAudioTracks' in source ? source.getAudioTracks()[0] : source;
  if (track?.kind !== 'audio') throw new VoxgenderError('no_audio', 'There is no audio track to listen to');
  if (track.readyState === 'ended') throw new VoxgenderError('no_audio', 'The audio track has ended already');
  return track;
}
