// One WHIP session and its peer connection, from the offer to the DELETE. It is never reused: after a loss
// another one is opened. It sends one voice, or the several of a room, each by a line of its own.

import { tellsResults } from './call-options.js';
import { ConnectionError, VoxgenderError } from './errors.js';
import { parse } from './messages.js';
import { abortable, deferred, wait } from './promises.js';
import * as whip from './whip.js';

/** @typedef {import('./message-types.js').Message} Message */
/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./session.js').Tracks} Tracks */

const CONNECT_TIMEOUT_MS = 10_000;
/** Browsers say `disconnected` after some seconds of silence already; a path that is only changing is back by then. */
const DISCONNECTED_GRACE_MS = 1_500;
const PING_EVERY_MS = 5_000;
/** A server that listens says something each hop. After so long without a message it is asked about the session. */
const QUIET_MS = 1_500;
/** A call may have longer hops. Of one that tells no results the silence means nothing: ICE alone shows that it is lost. */
const QUIET_HOPS = 3;
/** A request may hang for long on a connection of the network that has just gone. The call is not waited with for it. */
const ANSWER_MS = 800;
/** Messages that were held up with the server's answer have come by then. */
const CATCH_UP_MS = 300;
/** Such a warning of the server says why there may be no results. It is repeated every 10 s while it holds. */
const EXPLAINED_MS = 12_000;
const EXPLANATIONS = new Set(['no_media', 'overloaded']);
const SUMMARY_TIMEOUT_MS = 1_500;
/** Waits between offers that tell the server again which voices there are. */
const RENEGOTIATE_AFTER_MS = 1_000;
const RENEGOTIATE_LONGEST_MS = 8_000;
const DRAINING = 'draining';

/** States of ICE in which there is a way through. */
const FOUND = new Set(['connected', 'completed']);

/** A server without one can be reached by nobody. */
const CANDIDATE = /^a=candidate:/m;

const PING = JSON.stringify({ v: 1, type: 'ping' });

/** @implements {Session} */
export class WebRtcSession {
  /** @type {'webrtc'} */
  transport = 'webrtc';
  /** @type {RTCPeerConnection} */
  #connection;
  /** The lines by the names of their voices. @type {Map<string | null, RTCRtpTransceiver>} */
  #lines = new Map();
  /** The latest that is to be sent; the lines may be behind. @type {Map<string | null, MediaStreamTrack | null>} */
  #tracks;
  /** Lines of voices that have left. Stopped, the first of all would take the transport of all with it. @type {RTCRtpTransceiver[]} */
  #spare = [];
  /** The same, but the server may not know it yet. @type {RTCRtpTransceiver[]} */
  #leaving = [];
  /** True while the server has the voices that are here, and no others. */
  #isNegotiated = true;
  /** True while it is offered anew by itself until that is so. */
  #isRenegotiating = false;
  #isRoom;
  /** @type {RTCDataChannel} */
  #events;
  /** @type {(message: Message) => void} */
  #onmessage;
  /** @type {Promise<whip.Resource> | null} */
  #resource = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ping;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #grace;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #quiet;
  /** @type {ConnectionError | null} */
  #told = null;
  /** Latest result of each channel. @type {Map<number | undefined, number>} */
  #lastSeq = new Map();
  #messages = 0;
  /** @type {number | null} */
  #quietMs = QUIET_MS;
  #explainedUntilMs = 0;
  #wasLive = false;
  #closed = false;
  /** @type {Promise<void> | null} */
  #closing = null;
  /** The changes of the lines that are under way: one after the other. */
  #changing = Promise.resolve();
  #draining = /** @type {ReturnType<typeof deferred<void>>} */ (deferred());
  #live = /** @type {ReturnType<typeof deferred<void>>} */ (deferred());
  #unheard = /** @type {ReturnType<typeof deferred<VoxgenderError>>} */ (deferred());
  #lost = /** @type {ReturnType<typeof deferred<VoxgenderError>>} */ (deferred());
  #summary = /** @type {ReturnType<typeof deferred<void>>} */ (deferred());

  /**
   * @param {Tracks} tracks
   * @param {RTCIceServer[]} iceServers
   * @param {RTCIceTransportPolicy} iceTransportPolicy
   * @param {(message: Message) => void} onmessage
   */
  constructor(tracks, iceServers, iceTransportPolicy, onmessage) {
    this.#onmessage = onmessage;
    const connection = new RTCPeerConnection({ iceServers, iceTransportPolicy, bundlePolicy: 'max-bundle' });
    this.#connection = connection;
    this.#isRoom = !tracks.has(null);
    this.#tracks = new Map(tracks);
    for (const [name, track] of tracks) {
      this.#lines.set(name, connection.addTransceiver(track ?? 'audio', { direction: 'sendonly' }));
    }
    // A late result is worth nothing: the next one replaces it. Everything else has to arrive.
    const results = connection.createDataChannel('results', { ordered: false, maxRetransmits: 0 });
    this.#events = connection.createDataChannel('events');
    results.onmessage = ({ data }) => this.#receive(data, results);
    this.#events.onmessage = ({ data }) => this.#receive(data, this.#events);
    this.#events.onclose = () => this.#lose();
    connection.onconnectionstatechange = () => this.#observeConnection();
  }

  /**
   * Resolves, with the reason, when the session is over without having been closed here.
   * @returns {Promise<VoxgenderError>}
   */
  get lost() {
    return this.#lost.promise;
  }

  /** Resolves when the server asks this session to go elsewhere. It lives on for a while. */
  get draining() {
    return this.#draining.promise;
  }

  /**
   * Resolves, with the reason, when no message has come for some seconds though the server still has the session, or does
   * not say: the way between the two is gone for media and messages, and nothing else may ever tell of it.
   * @returns {Promise<VoxgenderError>}
   */
  get unheard() {
    return this.#unheard.promise;
  }

  /**
   * Open a session; resolves once the server listens.
   * @param {Tracks} tracks
   * @param {{endpoint: string | URL, token: string | null, query: import('./call-options.js').Query, iceServers: RTCIceServer[],
   *          iceTransportPolicy: RTCIceTransportPolicy, iceTimeoutMs?: number, signal: AbortSignal,
   *          onopening: (session: import('./session.js').Opening) => void, onmessage: (message: Message) => void}} options `iceTimeoutMs`: how
   *   long to look for a way through; `onopening` is told the session before anything is sent
   * @returns {Promise<WebRtcSession>}
   * @throws {VoxgenderError} refused, unreachable, or no way through for media; nothing is left behind
   */
  static async open(tracks, options) {
    const { endpoint, token, query, iceServers, iceTransportPolicy, iceTimeoutMs, signal, onopening, onmessage } =
      options;
    const session = new WebRtcSession(tracks, iceServers, iceTransportPolicy, onmessage);
    onopening(session);
    try {
      const lost = session.lost.then((error) => Promise.reject(error));
      const live = session
        .#negotiate(endpoint, { token, query }, iceServers, iceTimeoutMs)
        .then(() => session.#becomeLive(iceTimeoutMs ?? CONNECT_TIMEOUT_MS));
      await abortable(Promise.race([live, lost]), signal);
      return session;
    } catch (error) {
      const ended = session.abandon();
      // Its place is free again for a call by another way.
      if (!signal.aborted) await Promise.race([ended, wait(ANSWER_MS)]);
      throw error;
    }
  }

  /**
   * @param {Tracks} tracks
   * @throws {VoxgenderError} the server takes no more voices; nothing has changed then
   */
  async setTracks(tracks) {
    // The answer to an offer may be long in coming. A voice that has left is not sent until then, nor a track that was replaced.
    const replaced = this.replaceTracks(tracks);
    const change = this.#changing.then(() => this.#setVoices([...tracks.keys()]));
    this.#changing = change.catch(() => {});
    await Promise.all([replaced, change]);
  }

  /**
   * Send these tracks by the lines that are there already, and nothing by those of other voices. It may be called at any time,
   * also while the session is being opened.
   * @param {Tracks} tracks
   */
  async replaceTracks(tracks) {
    if (this.#closed) return;
    this.#tracks = new Map(tracks);
    const lines = [...this.#lines];
    await Promise.all(lines.map(([name, { sender }]) => sender.replaceTrack(tracks.get(name) ?? null)));
  }

  /**
   * Have the server listen to these voices.
   * @param {(string | null)[]} names
   */
  async #setVoices(names) {
    if (this.#closed) return;
    const gone = [...this.#lines.keys()].filter((name) => !names.includes(name));
    // One that has left again before its turn came is not offered.
    const added = names.filter((name) => !this.#lines.has(name) && this.#tracks.has(name));
    if (!gone.length && !added.length) return;
    this.#isNegotiated = false;
    for (const name of gone) this.#endLine(name);
    const before = this.#leaving.length;
    for (const name of added) await this.#addLine(name);
    try {
      await this.#offerAnew();
    } catch (error) {
      for (const name of added) this.#endLine(name);
      // Changes that wait already do not offer them again.
      for (const name of added) this.#tracks.delete(name);
      if (whip.isRefusal(error)) {
        // The server knows nothing of the lines that it has refused.
        this.#spare.push(...this.#leaving.splice(before));
        this.#isNegotiated = before === 0;
      }
      if (this.#closed) return;
      if (!this.#isNegotiated) this.#renegotiate();
      throw error;
    }
  }

  /** @param {string | null} name */
  async #addLine(name) {
    const line = this.#spare.pop() ?? this.#connection.addTransceiver('audio', { direction: 'sendonly' });
    this.#lines.set(name, line);
    line.direction = 'sendonly';
    await line.sender.replaceTrack(this.#tracks.get(name) ?? null);
  }

  /** @param {string | null} name */
  #endLine(name) {
    const line = /** @type {RTCRtpTransceiver} */ (this.#lines.get(name));
    line.direction = 'inactive';
    line.sender.replaceTrack(null).catch(() => {});
    this.#lines.delete(name);
    this.#leaving.push(line);
  }

  /** Negotiate the lines anew. */
  async #offerAnew() {
    const connection = this.#connection;
    const resource = await this.#resource;
    if (this.#closed || !resource) return;
    try {
      await connection.setLocalDescription(await connection.createOffer());
      const names = new Map([...this.#lines].map(([name, line]) => [line.mid, name]));
      const offer = whip.titled(connection.localDescription?.sdp ?? '', (mid) => names.get(mid));
      await connection.setRemoteDescription({ type: 'answer', sdp: await whip.update(resource, offer) });
    } catch (error) {
      if (!this.#closed && connection.signalingState === 'have-local-offer') {
        await connection.setLocalDescription({ type: 'rollback' });
      }
      throw error;
    }
    this.#isNegotiated = true;
    this.#spare.push(...this.#leaving.splice(0));
  }

  /**
   * Offer anew until the server has answered: it may have taken an offer whose answer was lost, and keep a voice that is
   * not here, and its place, until the call ends.
   */
  async #renegotiate() {
    if (this.#isRenegotiating) return;
    this.#isRenegotiating = true;
    for (
      let waitMs = RENEGOTIATE_AFTER_MS;
      !this.#isNegotiated;
      waitMs = Math.min(2 * waitMs, RENEGOTIATE_LONGEST_MS)
    ) {
      await wait(waitMs);
      if (this.#closed) return;
      this.#changing = this.#changing.then(() => this.#renegotiateOnce());
      await this.#changing;
    }
    this.#isRenegotiating = false;
  }

  async #renegotiateOnce() {
    if (this.#closed || this.#isNegotiated) return;
    try {
      await this.#offerAnew();
    } catch (error) {
      // Then nothing that is offered later will be taken either.
      if (whip.isRefusal(error) && !(/** @type {VoxgenderError} */ (error).heals)) this.#isNegotiated = true;
    }
  }

  /** @returns {Promise<number | null>} to the server and back, in milliseconds; null while unknown */
  async roundTripMs() {
    const stats = [...(await this.#connection.getStats()).values()];
    const pair = stats.find((entry) => entry.type === 'candidate-pair' && entry.nominated);
    return typeof pair?.currentRoundTripTime === 'number' ? pair.currentRoundTripTime * 1000 : null;
  }

  /** End well: the server's last messages arrive before this returns, unless they take too long. */
  async close() {
    await (this.#closing ??= this.#close());
  }

  async #close() {
    const resource = await this.#resource?.catch(() => null);
    if (resource && !this.#closed) {
      const ended = whip.end(resource).then((confirmed) => (confirmed ? this.#summary.promise : undefined));
      await Promise.race([ended, wait(SUMMARY_TIMEOUT_MS)]);
    }
    this.#shut();
  }

  /** End at once, as when the page goes away. Resolves when the server has been told, too. */
  async abandon() {
    if (this.#closed) return;
    this.#shut();
    // An offer may still be on its way: whatever session comes of it is not wanted.
    await this.#resource?.then(whip.end, () => {});
  }

  /**
   * @param {string | URL} endpoint
   * @param {{token: string | null, query: import('./call-options.js').Query}} request
   * @param {RTCIceServer[]} iceServers
   * @param {number} [iceTimeoutMs] where there is another way to try
   */
  async #negotiate(endpoint, request, iceServers, iceTimeoutMs) {
    const connection = this.#connection;
    const offer = await connection.createOffer();
    // The offer goes out before it is applied: a server that can be reached needs none of our candidates, and what
    // ICE servers the answer advises are known before gathering starts, with no ICE restart.
    this.#resource = whip.publish(endpoint, this.#named(offer.sdp ?? ''), request);
    const resource = await this.#resource;
    if (this.#closed) return;
    if (iceTimeoutMs !== undefined && !CANDIDATE.test(resource.answer)) throw noMediaPath();
    if (resource.iceServers.length) {
      connection.setConfiguration({
        ...connection.getConfiguration(),
        iceServers: [...iceServers, ...resource.iceServers],
      });
    }
    if (iceServers.length || resource.iceServers.length) this.#trickle(resource, offer.sdp ?? '');
    if (connection.getConfiguration().iceTransportPolicy === 'relay') this.#insistOnRelay();
    await connection.setLocalDescription(offer);
    await connection.setRemoteDescription({ type: 'answer', sdp: resource.answer });
  }

  /**
   * The first offer with the names of the voices of a room. Its lines are in the order in which they were added.
   * @param {string} offer SDP
   */
  #named(offer) {
    if (!this.#isRoom) return offer;
    const names = [...this.#lines.keys()];
    return whip.titled(offer, (_, index) => names[index]);
  }

  /** @param {number} iceTimeoutMs */
  async #becomeLive(iceTimeoutMs) {
    const giveUp = () => this.#live.reject(noMediaPath());
    const timer = setTimeout(giveUp, CONNECT_TIMEOUT_MS);
    const iceTimer = setTimeout(() => {
      if (!FOUND.has(this.#connection.iceConnectionState)) giveUp();
    }, iceTimeoutMs);
    await this.#live.promise.finally(() => {
      clearTimeout(timer);
      clearTimeout(iceTimer);
    });
    this.#wasLive = true;
  }

  /**
   * @param {whip.Resource} resource
   * @param {string} offer
   */
  #trickle(resource, offer) {
    /** @type {(RTCIceCandidate | null)[]} */
    const waiting = [];
    let sending = Promise.resolve();
    this.#connection.onicecandidate = ({ candidate }) => {
      waiting.push(candidate);
      sending = sending.then(async () => {
        const candidates = waiting.splice(0);
        if (!candidates.length) return;
        const isThere = await whip.trickle(resource, whip.sdpFragment(offer, candidates));
        if (!isThere) this.#lose();
      });
    };
  }

  /** With no way but a relay there is no use in waiting for one that no server gives. */
  #insistOnRelay() {
    const connection = this.#connection;
    let relays = 0;
    /** @type {Set<string>} */
    const refusals = new Set();
    // It may be told before anybody waits for it.
    this.#live.promise.catch(() => {});
    connection.addEventListener('icecandidate', ({ candidate }) => {
      if (candidate?.candidate) relays += 1;
    });
    connection.addEventListener('icecandidateerror', ({ url, errorCode, errorText }) => {
      refusals.add(`${url}: ${errorText || 'no answer'} (${errorCode})`);
    });
    connection.addEventListener('icegatheringstatechange', () => {
      if (connection.iceGatheringState !== 'complete' || relays) return;
      const why = refusals.size ? [...refusals].join('; ') : 'the server tells of no TURN server';
      this.#live.reject(new ConnectionError('no_relay', `There is no relay to the server: ${why}`));
    });
  }

  /**
   * @param {unknown} data
   * @param {RTCDataChannel} channel
   */
  #receive(data, channel) {
    const message = parse(data);
    if (!message || this.#closed) return;
    this.#messages += 1;
    this.#watch();
    switch (message.type) {
      case 'hello':
        // One comes on each channel.
        if (channel !== this.#events) return;
        if (this.#isRoom && !message.voices) return this.#live.reject(takesOneVoice());
        this.#quietMs = tellsResults(message) ? Math.max(QUIET_MS, QUIET_HOPS * message.hop_ms) : null;
        this.#watch();
        this.#ping = setInterval(() => this.#sendPing(), PING_EVERY_MS);
        break;
      case 'result':
        if (message.seq <= (this.#lastSeq.get(message.channel) ?? -1)) return;
        this.#lastSeq.set(message.channel, message.seq);
        break;
      case 'warning':
        if (message.code === DRAINING) this.#draining.resolve();
        if (EXPLANATIONS.has(message.code)) this.#explainedUntilMs = performance.now() + EXPLAINED_MS;
        break;
      case 'error':
        this.#told = new ConnectionError(message.code, message.message);
        break;
    }
    this.#onmessage(message);
    if (message.type === 'hello') this.#live.resolve();
    // In a room each voice has one, too; that of all of them comes last.
    if (message.type === 'summary' && message.channel === undefined) this.#summary.resolve();
  }

  /** A sign of life, so that a muted microphone is not taken for a dead caller. */
  #sendPing() {
    if (this.#events.readyState === 'open') this.#events.send(PING);
  }

  #watch() {
    clearTimeout(this.#quiet);
    if (this.#quietMs !== null) this.#quiet = setTimeout(() => this.#inquire(), this.#quietMs);
  }

  /** ICE takes some seconds to notice that the other end is gone. Asking the server is quicker, and certain. */
  async #inquire() {
    const messages = this.#messages;
    const resource = await this.#resource;
    const alive = resource ? await Promise.race([whip.isAlive(resource), wait(ANSWER_MS)]) : false;
    if (this.#closed || messages !== this.#messages) return;
    if (alive === false) return this.#lose();
    await wait(CATCH_UP_MS);
    if (this.#closed || messages !== this.#messages) return;
    if (performance.now() > this.#explainedUntilMs && (await this.#hasSent())) {
      this.#unheard.resolve(new ConnectionError('unheard', 'Nothing is heard of the call'));
    }
    if (!this.#closed && messages === this.#messages) this.#watch();
  }

  /** A server tells nothing of a track that has given nothing yet. */
  async #hasSent() {
    const stats = [...(await this.#connection.getStats()).values()];
    return stats.some((entry) => entry.type === 'outbound-rtp' && entry.packetsSent > 0);
  }

  #observeConnection() {
    clearTimeout(this.#grace);
    const { connectionState } = this.#connection;
    if (connectionState === 'failed' && !this.#wasLive) this.#live.reject(noMediaPath());
    else if (connectionState === 'failed' || connectionState === 'closed') this.#lose();
    if (connectionState === 'disconnected') this.#grace = setTimeout(() => this.#lose(), DISCONNECTED_GRACE_MS);
  }

  #lose() {
    this.#summary.resolve();
    if (this.#closing) return;
    this.#lost.resolve(this.#told ?? new ConnectionError('lost', 'The connection to the server was lost'));
  }

  #shut() {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#ping);
    clearTimeout(this.#grace);
    clearTimeout(this.#quiet);
    this.#events.onclose = null;
    this.#connection.onconnectionstatechange = null;
    this.#connection.onicecandidate = null;
    this.#connection.close();
    this.#live.resolve();
    this.#summary.resolve();
  }
}

function takesOneVoice() {
  return new VoxgenderError('one_voice', 'The server takes one voice in a call: make a call for each voice');
}

function noMediaPath() {
  return new ConnectionError('no_media_path', 'The server answered, but no media gets to it');
}
