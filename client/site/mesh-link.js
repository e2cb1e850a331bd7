/** Time for a connection to come up. */
const CONNECT_MS = 10_000;
/** Browsers say `disconnected` for a moment of a path that is only changing. */
const DISCONNECTED_GRACE_MS = 2_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 8_000;

/**
 * A message from one end of a link to the other. `connection` names the connection that it is about, since another one may have
 * begun meanwhile.
 * @typedef {{type: 'again'}
 *   | {type: 'description', connection: string, description: RTCSessionDescriptionInit}
 *   | {type: 'candidate', connection: string, candidate: RTCIceCandidateInit}} LinkSignal
 */

/** The connection of a mesh with one other member. One that is lost is made anew, until the link is closed. */
export class MeshLink {
  /** The other end's media, while there is a connection. @type {MediaStream | null} */
  stream = null;
  #dials;
  #track;
  #send;
  #onchange;
  #onnote;
  /** @type {RTCPeerConnection | null} */
  #connection = null;
  #name = '';
  /** @type {RTCDataChannel | null} */
  #notes = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #retryMs = FIRST_RETRY_MS;
  #isClosed = false;
  /** Signals are handled one after the other. */
  #queue = Promise.resolve();
  /** Resolves once the connection is dropped. */
  #dropped = Promise.resolve();
  #resolveDropped = () => {};

  /**
   * @param {object} options
   * @param {boolean} options.dials whether this end makes the offers; the other one does not
   * @param {MediaStreamTrack} options.track what this end sends
   * @param {(signal: LinkSignal) => void} options.send to the other end
   * @param {() => void} options.onchange called when the connection has come up or is lost
   * @param {(note: unknown) => void} options.onnote called with what the other end notes
   */
  constructor({ dials, track, send, onchange, onnote }) {
    this.#dials = dials;
    this.#track = track;
    this.#send = send;
    this.#onchange = onchange;
    this.#onnote = onnote;
    if (dials) this.#enqueue(() => this.#dial());
  }

  /** @param {LinkSignal} signal of the other end */
  take(signal) {
    this.#enqueue(() => this.#handle(signal));
  }

  /** @param {unknown} value JSON that may be lost on the way */
  note(value) {
    if (this.#notes?.readyState === 'open') this.#notes.send(JSON.stringify(value));
  }

  /** @param {MediaStreamTrack} track to send from now on */
  async replaceTrack(track) {
    this.#track = track;
    await this.#unlessDropped(this.#connection?.getSenders()[0]?.replaceTrack(track));
  }

  close() {
    this.#isClosed = true;
    this.#drop();
  }

  /** @param {() => Promise<void>} work */
  #enqueue(work) {
    const next = this.#queue.then(() => (this.#isClosed ? undefined : work()));
    this.#queue = next.catch((error) => console.warn('call:', error));
  }

  /** @param {LinkSignal} signal */
  async #handle(signal) {
    if (signal.type === 'again') {
      if (this.#dials) await this.#dial();
      return;
    }
    if (signal.type === 'description' && signal.description.type === 'offer') {
      const connection = this.#open(signal.connection);
      await this.#unlessDropped(connection.setRemoteDescription(signal.description));
      return await this.#describe(connection);
    }
    if (signal.connection !== this.#name) return;
    const connection = this.#connection;
    await this.#unlessDropped(
      signal.type === 'description'
        ? connection?.setRemoteDescription(signal.description)
        : connection?.addIceCandidate(signal.candidate),
    );
  }

  async #dial() {
    await this.#describe(this.#open(crypto.randomUUID()));
  }

  /**
   * Begin a connection in the place of the one before.
   * @param {string} name
   */
  #open(name) {
    this.#drop();
    const connection = this.#construct();
    this.#connection = connection;
    this.#name = name;
    this.#dropped = new Promise((resolve) => (this.#resolveDropped = resolve));
    this.#timer = setTimeout(() => this.#lose(connection), CONNECT_MS);
    connection.addTrack(this.#track, new MediaStream([this.#track]));
    connection.onicecandidate = ({ candidate }) => {
      if (candidate) this.#send({ type: 'candidate', connection: name, candidate: candidate.toJSON() });
    };
    connection.onconnectionstatechange = () => this.#observe(connection);
    const notes = connection.createDataChannel('notes', { negotiated: true, id: 0, ordered: false, maxRetransmits: 0 });
    notes.onmessage = ({ data }) => this.#onnote(JSON.parse(data));
    notes.onclose = () => this.#lose(connection);
    this.#notes = notes;
    return connection;
  }

  #construct() {
    try {
      return new RTCPeerConnection();
    } catch (error) {
      // A page may have too many connections for the moment.
      this.#retry();
      throw error;
    }
  }

  /**
   * Wait for a step of the connection, or for the connection's end: a step that `close` overtakes may stay pending for good
   * (W3C WebRTC, "chain an asynchronous operation").
   * @param {Promise<void> | undefined} step
   */
  async #unlessDropped(step) {
    await Promise.race([step, this.#dropped]);
  }

  /** @param {RTCPeerConnection} connection */
  async #describe(connection) {
    if (connection !== this.#connection) return;
    await this.#unlessDropped(connection.setLocalDescription());
    const description = connection.localDescription?.toJSON();
    if (description && connection === this.#connection) {
      this.#send({ type: 'description', connection: this.#name, description });
    }
  }

  /** @param {RTCPeerConnection} connection */
  #observe(connection) {
    if (connection !== this.#connection) return;
    clearTimeout(this.#timer);
    switch (connection.connectionState) {
      case 'connected':
        this.#retryMs = FIRST_RETRY_MS;
        this.#show(new MediaStream(connection.getReceivers().map(({ track }) => track)));
        break;
      case 'disconnected':
        this.#timer = setTimeout(() => this.#lose(connection), DISCONNECTED_GRACE_MS);
        break;
      case 'failed':
        this.#lose(connection);
        break;
      default:
        this.#timer = setTimeout(() => this.#lose(connection), CONNECT_MS);
    }
  }

  /** @param {RTCPeerConnection} connection */
  #lose(connection) {
    if (connection !== this.#connection) return;
    this.#drop();
    this.#retry();
  }

  #retry() {
    const again = async () => (this.#dials ? await this.#dial() : this.#send({ type: 'again' }));
    this.#timer = setTimeout(() => this.#enqueue(again), this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, LAST_RETRY_MS);
  }

  #drop() {
    clearTimeout(this.#timer);
    const connection = this.#connection;
    this.#connection = this.#notes = null;
    this.#name = '';
    connection?.close();
    this.#resolveDropped();
    this.#show(null);
  }

  /** @param {MediaStream | null} stream */
  #show(stream) {
    if (stream === this.stream) return;
    this.stream = stream;
    this.#onchange();
  }
}
