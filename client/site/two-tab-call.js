// A call between two tabs of one browser, as a video-call tool has its own. It knows nothing of voxgender.

/**
 * @typedef {{from: string} & ({type: 'join' | 'here' | 'leave'}
 *   | {type: 'description', description: RTCSessionDescriptionInit}
 *   | {type: 'candidate', candidate: RTCIceCandidateInit})} Signal
 */

/**
 * Events: `remote` when the other side comes or goes, `note` for each JSON text that it sends.
 */
export class TwoTabCall extends EventTarget {
  #me;
  #track;
  #signals;
  /** @type {string | null} */
  #other = null;
  /** @type {RTCPeerConnection | null} */
  #connection = null;
  /** @type {RTCDataChannel | null} */
  #notes = null;
  /** Signals are handled one after the other. */
  #queue = Promise.resolve();

  /** @type {MediaStream | null} */
  remote = null;

  /**
   * @param {string} room
   * @param {string} me which side; the lesser one calls
   * @param {MediaStreamTrack} track
   */
  constructor(room, me, track) {
    super();
    this.#me = me;
    this.#track = track;
    this.#signals = new BroadcastChannel(`call:${room}`);
    this.#signals.onmessage = ({ data }) => {
      this.#queue = this.#queue.then(() => this.#handle(data)).catch((error) => console.warn('call:', error));
    };
    this.#send({ type: 'join' });
  }

  /** @param {unknown} value */
  note(value) {
    if (this.#notes?.readyState === 'open') this.#notes.send(JSON.stringify(value));
  }

  hangUp() {
    this.#send({ type: 'leave' });
    this.#signals.close();
    this.#part();
  }

  /** @param {Signal} signal */
  async #handle(signal) {
    if (signal.from === this.#me || (this.#other && signal.from !== this.#other)) return;
    switch (signal.type) {
      case 'join':
        this.#part();
        this.#send({ type: 'here' });
        await this.#meet(signal.from);
        break;
      case 'here':
        if (!this.#other) await this.#meet(signal.from);
        break;
      case 'leave':
        this.#part();
        break;
      case 'description':
        await this.#connection?.setRemoteDescription(signal.description);
        if (signal.description.type === 'offer') await this.#describe();
        break;
      case 'candidate':
        await this.#connection?.addIceCandidate(signal.candidate);
        break;
    }
  }

  /** @param {string} other */
  async #meet(other) {
    const connection = new RTCPeerConnection();
    this.#other = other;
    this.#connection = connection;
    connection.addTrack(this.#track, new MediaStream([this.#track]));
    connection.onicecandidate = ({ candidate }) => {
      if (candidate) this.#send({ type: 'candidate', candidate: candidate.toJSON() });
    };
    connection.ontrack = ({ streams }) => this.#setRemote(streams[0] ?? null);
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === 'failed') this.#part();
    };
    this.#notes = connection.createDataChannel('notes', { negotiated: true, id: 0, ordered: false, maxRetransmits: 0 });
    this.#notes.onmessage = ({ data }) => this.dispatchEvent(new MessageEvent('note', { data: JSON.parse(data) }));
    if (this.#me < other) await this.#describe();
  }

  async #describe() {
    await this.#connection?.setLocalDescription();
    const description = this.#connection?.localDescription;
    if (description) this.#send({ type: 'description', description: description.toJSON() });
  }

  #part() {
    this.#connection?.close();
    this.#connection = null;
    this.#notes = null;
    this.#other = null;
    this.#setRemote(null);
  }

  /** @param {MediaStream | null} remote */
  #setRemote(remote) {
    this.remote = remote;
    this.dispatchEvent(new Event('remote'));
  }

  /** @param {Signal extends infer S ? S extends unknown ? Omit<S, 'from'> : never : never} signal */
  #send(signal) {
    this.#signals.postMessage({ ...signal, from: this.#me });
  }
}
