// Stand-ins for what Node has not got: peer connections, tracks and microphones. They do what the client sees of
// the real ones; the browser tests run the real ones.

/** Let all tasks run that are due, and those that they start. */
export async function runTasks() {
  for (let turn = 0; turn < 12; turn += 1) await new Promise(setImmediate);
}

export class FakeTrack extends EventTarget {
  static live = new Set();
  kind = 'audio';
  enabled = true;
  readyState = 'live';

  constructor() {
    super();
    FakeTrack.live.add(this);
  }

  clone() {
    return Object.assign(new FakeTrack(), { enabled: this.enabled });
  }

  /** No event tells of it, as with the real one. */
  stop() {
    this.readyState = 'ended';
    FakeTrack.live.delete(this);
  }

  muted = false;

  /** Mute, as the browser does when a telephone call takes the microphone. */
  setMuted(muted) {
    this.muted = muted;
    this.dispatchEvent(new Event(muted ? 'mute' : 'unmute'));
  }

  unplug() {
    this.stop();
    this.dispatchEvent(new Event('ended'));
  }
}

class FakeChannel {
  readyState = 'open';
  sent = [];
  send(text) {
    this.sent.push(text);
  }
}

export class FakePeerConnection {
  static open = new Set();
  static all = [];
  connectionState = 'new';
  iceConnectionState = 'checking';
  channels = {};
  configuration;

  constructor(configuration) {
    this.configuration = configuration;
    FakePeerConnection.open.add(this);
    FakePeerConnection.all.push(this);
  }

  addEventListener() {}

  /** The lines, in the order in which they were added. */
  lines = [];
  localDescription = null;
  signalingState = 'stable';

  /** The track of the only line. */
  get track() {
    return this.lines[0]?.track;
  }

  addTransceiver(track, { direction } = {}) {
    const line = { track: track === 'audio' ? null : track, direction, mid: null };
    line.sender = { replaceTrack: async (replacement) => void (line.track = replacement) };
    this.lines.push(line);
    return line;
  }

  createDataChannel(label, options = {}) {
    return (this.channels[label] = Object.assign(new FakeChannel(), { label, options }));
  }

  async createOffer() {
    const lines = this.lines.map(({ direction }, mid) => `m=audio\r\na=mid:${mid}\r\na=${direction ?? ''}\r\n`);
    return { type: 'offer', sdp: lines.join('') };
  }

  /** Packets of audio sent so far. */
  packetsSent = 1;

  async getStats() {
    return new Map([['audio', { type: 'outbound-rtp', packetsSent: this.packetsSent }]]);
  }

  getConfiguration() {
    return this.configuration;
  }

  setConfiguration(configuration) {
    this.configuration = configuration;
  }

  async setLocalDescription(description) {
    if (this.connectionState === 'closed') throw new Error('closed');
    this.signalingState = description?.type === 'offer' ? 'have-local-offer' : 'stable';
    this.localDescription = description;
    this.lines.forEach((line, mid) => (line.mid ??= String(mid)));
  }

  async setRemoteDescription() {
    if (this.connectionState === 'closed') throw new Error('closed');
    this.signalingState = 'stable';
    FakeServer.current?.connected(this);
  }

  receive(label, message) {
    this.channels[label].onmessage?.({ data: JSON.stringify({ v: 1, ...message }) });
  }

  /** The server went away. */
  vanish() {
    this.connectionState = 'failed';
    this.onconnectionstatechange?.();
  }

  close() {
    this.connectionState = 'closed';
    FakePeerConnection.open.delete(this);
  }
}

/** Answers `fetch` as the server does. */
export class FakeServer {
  static current = null;
  requests = [];
  /** Taken in turn, the last one for good: an answer to POST, or a function that makes one. */
  answers = [{ status: 201 }];
  /** URL to connection: of the nth POST to the nth connection. */
  sessions = new Map();
  summary = { duration: 2, speech: 1, male: 1, female: 0, uncertain: 0, segments: 1 };
  /** The answer to a request for a ticket. */
  ticket = { status: 201 };
  /** Answers about sessions that are over. */
  gone = 404;
  /** True while media gets through. */
  reachable = true;
  /** Fields of each call's `hello`. */
  hello = { session: 's', hop_ms: 192 };
  /** False if it is of a version that hears the first line alone. */
  takesRooms = true;
  /** True if it never says whether it has a session. */
  hangs = false;

  install() {
    FakeServer.current = this;
    FakePeerConnection.all = [];
    globalThis.RTCPeerConnection = FakePeerConnection;
    globalThis.fetch = async (url, { method = 'GET', headers, body }) => {
      this.requests.push({ method, url: String(url), headers, body });
      if (method === 'PATCH' && headers['Content-Type'] === 'application/sdp')
        return await this.#update(String(url), body);
      if (method === 'POST' && new URL(url).pathname.endsWith('/listen')) return this.#ticket();
      if (method === 'POST') return await this.#post(body);
      return method === 'DELETE' ? this.#delete(String(url)) : this.#status(String(url));
    };
    return this;
  }

  count(method) {
    return this.requests.filter((request) => request.method === method).length;
  }

  async #post(offer = '') {
    const connection = FakePeerConnection.all[this.#offers++];
    const next = this.answers.length > 1 ? this.answers.shift() : this.answers[0];
    const { status, headers = {}, body = 'answer' } = typeof next === 'function' ? await next() : next;
    const url = `http://server.test/whip/${this.count('POST')}`;
    if (status === 201) this.sessions.set(url, connection);
    if (status === 201) this.#greet(connection, offer);
    return new Response(body, { status, headers: status === 201 ? { Location: url, ...headers } : headers });
  }

  /** Number of offers that have come. */
  #offers = 0;

  /** The answer to a later offer. */
  update = { status: 200 };

  async #update(url, offer) {
    const { status, body = 'answer', isLost = false, until } = this.update;
    await until;
    if (status === 200) this.#greet(this.sessions.get(url), offer);
    if (isLost) throw new TypeError('Failed to fetch');
    return new Response(body, { status });
  }

  /** Names the voices that an offer sends, as the server does. */
  #greet(connection, offer) {
    connection.voices = offer
      .split(/^(?=m=)/m)
      .filter((section) => section.includes('a=sendonly') && section.includes('i='))
      .map((section, channel) => ({
        channel,
        mid: /a=mid:(.*)/.exec(section)[1],
        name: /i=(.*)/.exec(section)[1].trim(),
      }));
  }

  #ticket() {
    const number = this.requests.length;
    const {
      status,
      body = `{"session":"/whip/kept-${number}"}`,
      headers = { Location: `/listen/ticket-${number}` },
    } = this.ticket;
    return new Response(body, { status, headers });
  }

  #status(url) {
    if (this.hangs) return new Promise(() => {});
    return new Response(null, { status: this.sessions.has(url) ? 200 : this.gone });
  }

  #delete(url) {
    const connection = this.sessions.get(url);
    this.sessions.delete(url);
    connection?.receive('events', { type: 'summary', ...this.summary });
    return new Response(null, { status: connection ? 200 : this.gone });
  }

  connected(connection) {
    if (!this.reachable) return;
    connection.iceConnectionState = 'connected';
    if (connection.isGreeted) return;
    connection.isGreeted = true;
    const room = this.takesRooms && connection.voices.length ? { voices: connection.voices } : {};
    for (const label of ['results', 'events']) {
      connection.receive(label, { type: 'hello', ...this.hello, ...room });
    }
  }
}

export class FakeMicrophones {
  asked = [];
  /** Thrown instead of handing out a track. */
  error = null;

  install() {
    Object.defineProperty(globalThis, 'navigator', { value: { mediaDevices: this }, configurable: true });
    return this;
  }

  async getUserMedia({ audio }) {
    this.asked.push(audio);
    if (this.error) throw this.error;
    const track = new FakeTrack();
    return { getAudioTracks: () => [track] };
  }
}

/** Gives one sample for ever. */
export class FakeAudioContext {
  static open = new Set();
  static sample = 0.001;
  static state = 'running';
  currentTime = 5;

  static install() {
    FakeAudioContext.sample = 0.001;
    FakeAudioContext.state = 'running';
    FakeAudioContext.moduleError = null;
    globalThis.AudioWorkletNode = FakeWorkletNode;
    globalThis.AudioContext = FakeAudioContext;
    globalThis.AnalyserNode = class {
      getFloatTimeDomainData(samples) {
        samples.fill(FakeAudioContext.sample);
      }
    };
    globalThis.MediaStream = class {};
  }

  static uninstall() {
    for (const name of ['AudioContext', 'AudioWorkletNode', 'AnalyserNode', 'MediaStream']) delete globalThis[name];
  }

  constructor() {
    FakeAudioContext.open.add(this);
  }

  get state() {
    return FakeAudioContext.state;
  }

  createMediaStreamSource() {
    return { connect() {}, disconnect() {} };
  }

  audioWorklet = {
    addModule: async () => {
      if (FakeAudioContext.moduleError) throw FakeAudioContext.moduleError;
    },
  };

  async resume() {}

  async close() {
    FakeAudioContext.open.delete(this);
  }
}

/** Gives a frame when a test says so. */
class FakeWorkletNode {
  static all = [];
  port = {};

  constructor() {
    FakeWorkletNode.all.push(this);
  }

  connect() {}
}

/** @param {number} count of 40 ms that are captured */
export function capture(count) {
  for (let frame = 0; frame < count; frame += 1) {
    for (const node of FakeWorkletNode.all) node.port.onmessage?.({ data: new Float32Array(640).fill(0.5) });
  }
}

/** The server's `/listen`, seen from a page. */
export class FakeWebSocket {
  static OPEN = 1;
  static all = [];
  /** True if a socket that opens is greeted. */
  static greets = true;
  /** True if a socket opens. */
  static opens = true;
  readyState = FakeWebSocket.OPEN;
  bufferedAmount = 0;
  sent = [];

  static install() {
    FakeWebSocket.all = [];
    FakeWebSocket.greets = FakeWebSocket.opens = true;
    globalThis.WebSocket = FakeWebSocket;
  }

  static uninstall() {
    delete globalThis.WebSocket;
  }

  constructor(url, protocols) {
    Object.assign(this, { url: String(url), protocols });
    FakeWebSocket.all.push(this);
    queueMicrotask(() => {
      if (!FakeWebSocket.opens) return this.end(1006);
      this.onopen?.();
      if (FakeWebSocket.greets) this.receive({ type: 'hello', ...FakeServer.current.hello });
    });
  }

  receive(message) {
    this.onmessage?.({ data: JSON.stringify({ v: 1, ...message }) });
  }

  /** Closed by the server. */
  end(code, reason = '') {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  send(data) {
    this.sent.push(data);
    if (data === JSON.stringify({ type: 'close' })) {
      this.receive({ type: 'summary', ...FakeServer.current.summary });
      this.end(1000);
    }
  }

  get sounds() {
    return this.sent.filter((data) => typeof data !== 'string').length;
  }

  close() {
    this.readyState = 3;
  }
}
