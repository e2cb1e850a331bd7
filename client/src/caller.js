import { ConnectionError, ServerError, VoxgenderError } from './errors.js';
import { toldUntilS } from './messages.js';
import { WebRtcSession } from './webrtc-session.js';
import { WebSocketSession } from './websocket-session.js';

/** @typedef {import('./message-types.js').Message} Message */
/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./session.js').Tracks} Tracks */

/** So long a way through is looked for where there is another transport. */
const ICE_TIMEOUT_MS = 3_000;
/** The server knows no WebSocket to listen at. */
const NOT_THERE = new Set([404, 405, 501]);

/**
 * @typedef {object} CallerOptions
 * @property {string | URL} endpoint
 * @property {import('./call-options.js').Query} query
 * @property {'auto' | 'webrtc' | 'websocket'} transport
 * @property {RTCIceServer[]} iceServers
 * @property {RTCIceTransportPolicy} iceTransportPolicy
 * @property {string | URL} workletUrl
 */
/**
 * @typedef {object} CallOptions
 * @property {string | null} token
 * @property {AbortSignal} signal
 * @property {(message: Message) => void} onmessage
 * @property {(session: import('./session.js').Opening) => void} onopening told of a session that may send sound before the call has been placed
 * @property {() => void} onsound called before sound is sent, where that passes through the page
 * @property {boolean} resume whether its times go on where those of the one before ended, where they can
 */

/**
 * Places the calls of a client from its start to its stop: over WebRTC as long as that gets through, over a WebSocket
 * from then on.
 */
export class Caller {
  #options;
  #mayFallBack;
  #isFallenBack;
  #opus = true;
  #toldS = 0;
  #startS = 0;

  /** @param {CallerOptions} options */
  constructor(options) {
    this.#options = options;
    const { transport, iceTransportPolicy } = options;
    // Leave to go by a relay alone is no leave to go by something else.
    this.#mayFallBack = transport === 'auto' && iceTransportPolicy === 'all' && WebSocketSession.isPossible();
    this.#isFallenBack = transport === 'websocket' || (this.#mayFallBack && !('RTCPeerConnection' in globalThis));
  }

  /** Beginning of the latest session’s clock, in seconds. */
  get startS() {
    return this.#startS;
  }

  /**
   * Take note of what has been told.
   * @param {Message} message
   */
  observe(message) {
    this.#toldS = Math.max(this.#toldS, toldUntilS(message));
  }

  /**
   * Take note that another session is listened to from now on.
   * @param {number} toldS seconds of its audio that have been told already
   */
  begin(toldS) {
    this.#toldS = toldS;
  }

  /**
   * Take note that a session is over. Where no results tell how much of it was heard, all that was sent counts.
   * @param {Session} session
   */
  leave({ untoldS = 0 }) {
    this.#toldS = Math.max(this.#toldS, untoldS);
  }

  /**
   * Place one call.
   * @param {Tracks} tracks
   * @param {CallOptions} options
   * @returns {Promise<Session>}
   * @throws {import('./errors.js').VoxgenderError} it cannot be placed; nothing is left behind
   */
  async call(tracks, options) {
    const track = tracks.get(null) ?? null;
    const isRoom = !tracks.has(null);
    if (this.#isFallenBack && isRoom) throw oneVoice();
    if (this.#isFallenBack) return await this.#callByWebSocket(track, options);
    if (!('RTCPeerConnection' in globalThis)) throw unsupported('WebRTC');
    this.#startS = 0;
    try {
      const iceTimeoutMs = this.#mayFallBack && !isRoom ? ICE_TIMEOUT_MS : undefined;
      return await WebRtcSession.open(tracks, { ...this.#options, ...options, iceTimeoutMs });
    } catch (error) {
      if (isRoom || !this.#mayFallBack || !(error instanceof ConnectionError) || error.code !== 'no_media_path')
        throw error;
      return await this.#fallBack(track, options, error);
    }
  }

  /**
   * @param {MediaStreamTrack | null} track
   * @param {CallOptions} options
   * @param {ConnectionError} why
   */
  async #fallBack(track, options, why) {
    this.#toldS = 0;
    try {
      const session = await this.#callByWebSocket(track, options);
      this.#isFallenBack = true;
      return session;
    } catch (error) {
      throw error instanceof ServerError && NOT_THERE.has(error.status) ? why : error;
    }
  }

  /**
   * @param {MediaStreamTrack | null} track
   * @param {CallOptions} options
   */
  async #callByWebSocket(track, { resume, ...options }) {
    if (!WebSocketSession.isPossible()) throw unsupported('WebSocket or AudioWorklet');
    // The server takes whole milliseconds.
    this.#startS = resume ? Math.round(this.#toldS * 1_000) / 1_000 : 0;
    const { endpoint, query, workletUrl } = this.#options;
    const startS = this.#startS;
    const session = await WebSocketSession.open(track, {
      ...options,
      endpoint,
      query,
      workletUrl,
      startS,
      opus: this.#opus,
    });
    session.lost.then((error) => {
      if (error.code === 'encoder') this.#opus = false;
    });
    return session;
  }
}

/** @param {string} what */
function unsupported(what) {
  return new VoxgenderError('unsupported', `This browser has no ${what} for this page`);
}

function oneVoice() {
  return new VoxgenderError('one_voice', 'By a WebSocket a call has one voice: make a call for each, or go by WebRTC');
}
