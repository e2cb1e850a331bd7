// One session over a WebSocket, where WebRTC gets no way through: sound goes out in small frames, messages come back.

import { Backlog } from './backlog.js';
import { Capture, CAPTURE_RATE_HZ, FRAME_MS } from './capture.js';
import { underPolicy } from './content-policy.js';
import { ConnectionError, VoxgenderError } from './errors.js';
import { askForTicket, giveBack } from './listen.js';
import { parse } from './messages.js';
import { abortable, deferred, wait } from './promises.js';
import { isKeptFromLocalNetwork } from './unanswered.js';
import { openEncoder } from './voice-encoder.js';

/** @typedef {import('./message-types.js').Message} Message */
/** @typedef {import('./session.js').Session} Session */

const CONNECT_TIMEOUT_MS = 10_000;
const PING_EVERY_MS = 5_000;
/** A server says something each hop. After so long without a message it is asked whether it is there. */
const QUIET_MS = 1_500;
const ANSWER_MS = 2_000;
const SUMMARY_TIMEOUT_MS = 1_500;
/** A warning that still holds is repeated. */
const WARN_EVERY_MS = 10_000;

/** Close codes (RFC 6455 section 7.4.1) that say the server cannot read this client: calling again would not help. */
const NOT_UNDERSTOOD = new Set([1003, 1007, 1009]);
/** @type {Readonly<Record<number, string>>} */
const CODES = { 1001: 'draining', 1008: 'policy', 1011: 'server_error', 1012: 'draining', 1013: 'at_capacity' };

const PING = JSON.stringify({ type: 'ping' });
const CLOSE = JSON.stringify({ type: 'close' });

/** @implements {Session} */
export class WebSocketSession {
  /** @type {'websocket'} */
  transport = 'websocket';
  #onmessage;
  #onsound;
  #backlog;
  /** @type {Capture | null} */
  #capture = null;
  /** @type {import('./voice-encoder.js').VoiceEncoder | null} */
  #encoder = null;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {MediaStreamTrack | null} */
  #track;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pinging;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #quiet;
  #pingedAtMs = 0;
  /** @type {number | null} */
  #roundTripMs = null;
  #warnedAtMs = -Infinity;
  /** @type {ConnectionError | null} */
  #told = null;
  #isLive = false;
  #closed = false;
  /** @type {Promise<void> | null} */
  #closing = null;
  #live = /** @type {ReturnType<typeof deferred<void>>} */ (deferred());
  #draining = /** @type {ReturnType<typeof deferred<void>>} */ (deferred());
  #lost = /** @type {ReturnType<typeof deferred<VoxgenderError>>} */ (deferred());
  #ended = /** @type {ReturnType<typeof deferred<void>>} */ (deferred());
  /** TCP gets through or it does not: a session that goes silent is lost. */
  unheard = /** @type {Promise<VoxgenderError>} */ (new Promise(() => {}));

  /**
   * @param {MediaStreamTrack | null} track
   * @param {number} startS
   * @param {(message: Message) => void} onmessage
   * @param {() => void} onsound
   */
  constructor(track, startS, onmessage, onsound) {
    this.#track = track;
    this.#backlog = new Backlog(startS);
    this.#onmessage = onmessage;
    this.#onsound = onsound;
  }

  static isPossible() {
    return 'WebSocket' in globalThis && Capture.isPossible();
  }

  /**
   * Open a session; resolves once the server listens.
   * @param {MediaStreamTrack | null} track
   * @param {{endpoint: string | URL, token: string | null, query: import('./call-options.js').Query,
   *          workletUrl: string | URL, startS: number, opus: boolean, signal: AbortSignal,
   *          onmessage: (message: Message) => void, onsound: () => void}} options `endpoint` is the WHIP one; `startS` is
   *   where the server's clock begins; `onsound` is called before each frame is sent, also in pages that are out of sight
   * @returns {Promise<WebSocketSession>}
   * @throws {VoxgenderError} refused or unreachable, or the browser gives no samples; nothing is left behind
   */
  static async open(track, { endpoint, token, query, workletUrl, startS, opus, signal, onmessage, onsound }) {
    const session = new WebSocketSession(track, startS, onmessage, onsound);
    try {
      const lost = session.lost.then((error) => Promise.reject(error));
      const live = session.#connect(endpoint, { token, query }, workletUrl, startS, opus);
      await abortable(Promise.race([live, lost]), signal);
      return session;
    } catch (error) {
      session.abandon();
      throw error;
    }
  }

  get lost() {
    return this.#lost.promise;
  }

  get draining() {
    return this.#draining.promise;
  }

  /** @param {import('./session.js').Tracks} tracks of an only voice; null sends silence */
  async setTracks(tracks) {
    const track = tracks.get(null) ?? null;
    this.#track = track;
    if (!this.#closed) this.#capture?.replaceTrack(track);
  }

  get untoldS() {
    return this.#backlog.untoldS;
  }

  async roundTripMs() {
    return this.#roundTripMs;
  }

  async close() {
    await (this.#closing ??= this.#close());
  }

  async #close() {
    this.#capture?.close();
    this.#capture = null;
    if (this.#isLive && !this.#closed) {
      await Promise.race([this.#finish(), wait(SUMMARY_TIMEOUT_MS)]);
    }
    this.#shut();
  }

  async #finish() {
    await this.#encoder?.finish();
    this.#send(CLOSE);
    await this.#ended.promise;
  }

  async abandon() {
    this.#shut();
  }

  /**
   * @param {string | URL} endpoint
   * @param {{token: string | null, query: import('./call-options.js').Query}} request
   * @param {string | URL} workletUrl
   * @param {number} startS
   * @param {boolean} opus
   */
  async #connect(endpoint, { token, query }, workletUrl, startS, opus) {
    const capture = await Capture.open(workletUrl, (frame) => this.#take(frame));
    this.#capture = capture;
    const encoder = await openEncoder(
      {
        onpacket: (packet) => this.#send(packet),
        onerror: (error) => this.#lose(new ConnectionError('encoder', `Opus cannot be encoded: ${String(error)}`)),
      },
      { opus },
    );
    this.#encoder = encoder;
    if (this.#closed) return this.#release();
    capture.replaceTrack(this.#track);
    const ticket = await askForTicket(
      endpoint,
      {
        ...query,
        encoding: encoder.encoding,
        rate: encoder.encoding === 'opus' ? 48_000 : CAPTURE_RATE_HZ,
        channels: 1,
        from_ms: Math.round(startS * 1_000),
      },
      { token },
    );
    if (this.#closed) return void giveBack(ticket);
    const timer = setTimeout(() => this.#live.reject(noWebSocket(ticket.url)), CONNECT_TIMEOUT_MS);
    const live = this.#live.promise;
    try {
      await Promise.race([underPolicy(ticket.url, () => this.#open(ticket.url)), live]);
      await live;
    } catch (error) {
      if (!this.#isLive) void giveBack(ticket);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Open the WebSocket; resolves once the server has taken it.
   * @param {URL} ticket
   * @returns {Promise<void>}
   */
  #open(ticket) {
    const socket = (this.#socket = new WebSocket(ticket, ['voxgender']));
    return new Promise((resolve, reject) => {
      let isOpen = false;
      socket.onopen = () => {
        isOpen = true;
        resolve();
      };
      socket.onmessage = ({ data }) => this.#receive(data);
      const fail = () => void whyUnopened(ticket).then(reject);
      // For a socket that a policy forbids, Chromium fires `error` and no `close`.
      socket.onerror = () => isOpen || fail();
      socket.onclose = (event) => (isOpen ? this.#onclose(event) : fail());
    });
  }

  /** @param {Float32Array<ArrayBuffer>} frame */
  #take(frame) {
    this.#onsound();
    const encoder = this.#encoder;
    if (!this.#isLive || this.#closed || !encoder || !this.#socket) return;
    const queuedS = this.#socket.bufferedAmount / encoder.bytesPerS;
    if (this.#backlog.admit(FRAME_MS / 1_000, queuedS)) encoder.encode(frame);
    else this.#warn();
  }

  #warn() {
    const nowMs = performance.now();
    if (nowMs - this.#warnedAtMs < WARN_EVERY_MS) return;
    this.#warnedAtMs = nowMs;
    const message = 'The network takes less than the voice gives; some moments are left out.';
    this.#onmessage({ v: 1, type: 'warning', code: 'slow_network', message });
  }

  /** @param {string | ArrayBuffer} data */
  #send(data) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(data);
  }

  /** @param {unknown} data */
  #receive(data) {
    if (this.#closed) return;
    this.#watch();
    const message = parse(data);
    if (!message) {
      if (isPong(data)) this.#roundTripMs = performance.now() - this.#pingedAtMs;
      return;
    }
    switch (message.type) {
      case 'hello':
        this.#isLive = true;
        this.#ping();
        this.#pinging = setInterval(() => this.#ping(), PING_EVERY_MS);
        break;
      case 'warning':
        if (message.code === 'draining') this.#draining.resolve();
        break;
      case 'error':
        this.#told = new ConnectionError(message.code, message.message);
        break;
    }
    this.#onmessage(this.#backlog.place(message));
    if (message.type === 'hello') this.#live.resolve();
  }

  #ping() {
    this.#pingedAtMs = performance.now();
    this.#send(PING);
  }

  #watch() {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => {
      this.#ping();
      this.#quiet = setTimeout(
        () => this.#lose(new ConnectionError('lost', 'Nothing comes from the server')),
        ANSWER_MS,
      );
    }, QUIET_MS);
  }

  /** @param {CloseEvent} event */
  #onclose({ code, reason }) {
    this.#ended.resolve();
    const why = reason || `The connection to the server was lost (${code})`;
    if (NOT_UNDERSTOOD.has(code)) this.#lose(new VoxgenderError('not_understood', why));
    else this.#lose(this.#told ?? new ConnectionError(CODES[code] ?? 'lost', why));
  }

  /** @param {VoxgenderError} error */
  #lose(error) {
    if (!this.#closing) this.#lost.resolve(error);
  }

  #shut() {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#pinging);
    clearTimeout(this.#quiet);
    if (this.#socket) this.#socket.onmessage = this.#socket.onclose = this.#socket.onerror = null;
    this.#socket?.close();
    this.#release();
    this.#live.resolve();
    this.#ended.resolve();
  }

  #release() {
    this.#capture?.close();
    this.#capture = null;
    this.#encoder?.close();
  }
}

/** @param {URL} ticket */
function noWebSocket(ticket) {
  return new ConnectionError('no_websocket', `No WebSocket to ${ticket.host} opens, though the server answers`);
}

/**
 * Tell why a WebSocket does not open. Browsers do not say.
 * @param {URL} ticket
 */
async function whyUnopened(ticket) {
  if (!globalThis.location || !(await isKeptFromLocalNetwork(ticket, location))) return noWebSocket(ticket);
  const message = `The browser does not let ${location.origin} reach ${ticket.host}`;
  return new ConnectionError('local_network', message, { heals: false });
}

/** @param {unknown} data */
function isPong(data) {
  try {
    return typeof data === 'string' && JSON.parse(data)?.type === 'pong';
  } catch {
    return false;
  }
}
