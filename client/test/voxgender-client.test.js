import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { MicrophoneError } from '../src/errors.js';
import { VoxgenderClient } from '../src/voxgender-client.js';
import { FakeMicrophones, FakePeerConnection, FakeServer, FakeTrack } from './fakes.js';

let server, microphones, client, states;

beforeEach(() => {
  server = new FakeServer().install();
  microphones = new FakeMicrophones().install();
  client = new VoxgenderClient('http://server.test/whip');
  states = [];
  client.addEventListener('state', ({ detail }) => states.push(detail));
});

afterEach(async () => {
  await client.stop();
  for (const track of FakeTrack.live) track.stop();
  assert.equal(FakePeerConnection.open.size, 0, 'a peer connection was left open');
  assert.equal(server.sessions.size, 0, 'a session was left on the server');
});

const names = () => states.map(({ state }) => state);

function reached(state) {
  return new Promise((resolve) => {
    client.addEventListener('state', ({ detail }) => detail.state === state && resolve(detail));
  });
}

test('a start asks for the microphone, connects, and is live', async () => {
  await client.start();
  assert.deepEqual(names(), ['requesting-microphone', 'connecting', 'live']);
  const [connection] = FakePeerConnection.all;
  assert.deepEqual(connection.channels.results.options, { ordered: false, maxRetransmits: 0 });
  assert.deepEqual(connection.channels.events.options, {});
});

test('a stop deletes the session, hands over its summary and closes the microphone', async () => {
  await client.start();
  const summary = await client.stop();
  assert.equal(summary.male, 1);
  assert.equal(server.count('DELETE'), 1);
  assert.equal(FakeTrack.live.size, 0);
  assert.equal(client.state, 'stopped');
});

test('a track that was given is not asked for and not stopped', async () => {
  const track = new FakeTrack();
  await client.start(track);
  await client.stop();
  assert.equal(microphones.asked.length, 0);
  assert.equal(track.readyState, 'live');
});

test('a stream without audio fails and says so', async () => {
  await assert.rejects(client.start({ getAudioTracks: () => [] }), { code: 'no_audio' });
  assert.equal(client.state, 'failed');
});

test('starting twice is starting once', async () => {
  await Promise.all([client.start(), client.start()]);
  assert.equal(server.count('POST'), 1);
  assert.equal(microphones.asked.length, 1);
});

test('stopping while the microphone is being asked for closes it as soon as it comes', async () => {
  let grant;
  const pending = new Promise((resolve) => (grant = resolve));
  const track = new FakeTrack();
  microphones.getUserMedia = async () => (await pending, { getAudioTracks: () => [track] });
  const starting = client.start();
  await reached('requesting-microphone');
  await client.stop();
  assert.equal(client.state, 'stopped');
  await assert.rejects(starting, { name: 'AbortError' });
  grant();
  await new Promise(setImmediate);
  assert.equal(track.readyState, 'ended');
  assert.equal(server.count('POST'), 0);
});

test('stopping while the offer is on its way deletes what comes of it', async () => {
  let answer;
  server.answers = [() => new Promise((resolve) => (answer = resolve))];
  const starting = client.start();
  await reached('connecting');
  await new Promise(setImmediate);
  const stopping = client.stop();
  await new Promise(setImmediate);
  answer({ status: 201 });
  await stopping;
  await assert.rejects(starting, { name: 'AbortError' });
  await new Promise(setImmediate);
  assert.equal(server.count('DELETE'), 1);
});

test('starting while stopping waits and starts again', async () => {
  await client.start();
  const stopping = client.stop();
  const starting = client.start();
  await stopping;
  await starting;
  assert.equal(client.state, 'live');
  assert.deepEqual(names().slice(-4), ['stopped', 'requesting-microphone', 'connecting', 'live']);
});

test('start and stop go round as often as one likes', async () => {
  for (let i = 0; i < 20; i += 1) {
    await client.start();
    await client.stop();
  }
  assert.equal(server.count('DELETE'), 20);
  assert.equal(FakeTrack.live.size, 0);
});

test('a lost connection is opened again with a fresh session, and the sums span both', async () => {
  await client.start();
  FakePeerConnection.all[0].receive('results', { type: 'result', seq: 0, end: 0.5, label: 'female', confidence: 1 });
  const lost = reached('reconnecting');
  FakePeerConnection.all[0].vanish();
  const { error, retryMs } = await lost;
  assert.equal(error.code, 'lost');
  assert.ok(retryMs > 0 && retryMs <= 500);
  await reached('live');
  assert.equal(server.count('POST'), 2);
  const summary = await client.stop();
  assert.deepEqual([summary.female, summary.male], [0.5, 1]);
});

test('what the server said before it ended the call is the reason', async () => {
  await client.start();
  const lost = reached('reconnecting');
  FakePeerConnection.all[0].receive('events', { type: 'error', code: 'shutting_down', message: 'bye' });
  FakePeerConnection.all[0].channels.events.onclose();
  assert.equal((await lost).error.code, 'shutting_down');
});

test('a server that fell silent and knows the session no more is left for a fresh one', async (context) => {
  await client.start();
  server.sessions.clear();
  mock.timers.enable({ apis: ['setTimeout'] });
  context.after(() => mock.timers.reset());
  FakePeerConnection.all[0].receive('results', { type: 'result', seq: 0, end: 1 });
  const lost = reached('reconnecting');
  mock.timers.tick(2000);
  assert.equal((await lost).error.code, 'lost');
});

test('a full server is tried again after the wait that it asks for', async () => {
  const body = '{"code":"at_capacity","detail":"full"}';
  server.answers = [{ status: 503, headers: { 'Retry-After': '1' }, body }, { status: 201 }];
  const refused = new Promise((resolve) =>
    client.addEventListener('state', ({ detail }) => detail.retryMs !== null && resolve(detail)),
  );
  client.start();
  const { state, error, retryMs } = await refused;
  assert.equal(state, 'connecting');
  assert.equal(error.code, 'at_capacity');
  assert.ok(retryMs >= 1000);
  await reached('live');
});

for (const status of [401, 415, 422]) {
  test(`a ${status} is final`, async () => {
    server.answers = [{ status }];
    await assert.rejects(client.start(), { status });
    assert.equal(client.state, 'failed');
    assert.equal(server.count('POST'), 1);
    assert.equal(FakeTrack.live.size, 0);
  });
}

test('after a failure a start tries afresh', async () => {
  server.answers = [{ status: 401 }, { status: 201 }];
  await assert.rejects(client.start());
  await client.start();
  assert.equal(client.state, 'live');
});

test('no microphone is a failure in itself', async () => {
  microphones.error = new DOMException('', 'NotAllowedError');
  await assert.rejects(client.start(), MicrophoneError);
  assert.equal(states.at(-1).error.code, 'denied');
});

test('an unplugged microphone gives way to another one with no new session', async () => {
  await client.start();
  const first = client.track;
  const replaced = new Promise((resolve) => client.addEventListener('track', resolve));
  first.unplug();
  await replaced;
  await new Promise(setImmediate);
  assert.notEqual(client.track, first);
  assert.equal(FakePeerConnection.all[0].track, client.track);
  assert.equal(server.count('POST'), 1);
});

test('the last microphone unplugged ends the call and says so', async () => {
  await client.start();
  microphones.error = new DOMException('', 'NotFoundError');
  const failed = reached('failed');
  client.track.unplug();
  assert.equal((await failed).error.code, 'unplugged');
  assert.equal(server.count('DELETE'), 1);
});

test('a given track that ends, ends the call well', async () => {
  const track = new FakeTrack();
  await client.start(track);
  const stopped = reached('stopped');
  track.unplug();
  await stopped;
  assert.equal(server.count('DELETE'), 1);
});

for (const message of [true, false]) {
  test(`a given track that was stopped by its owner, without an event, ends the call ${message ? 'at the next message' : 'within a second'}`, async (context) => {
    if (!message) mock.timers.enable({ apis: ['setInterval'] });
    context.after(() => mock.timers.reset());
    const track = new FakeTrack();
    await client.start(track);
    const stopped = reached('stopped');
    track.stop();
    if (message) FakePeerConnection.all[0].receive('results', { type: 'result', seq: 0, end: 0.2 });
    else mock.timers.tick(1000);
    await stopped;
    assert.equal(server.count('DELETE'), 1);
  });
}

test('a page that is looked at again sees that its track has ended', async (context) => {
  const page = (globalThis.document = new EventTarget());
  context.after(() => delete globalThis.document);
  const track = new FakeTrack();
  await client.start(track);
  const stopped = reached('stopped');
  track.stop();
  page.dispatchEvent(new Event('visibilitychange'));
  await stopped;
});

test('a given track that ends while the server is being waited for ends the wait', async (context) => {
  mock.timers.enable({ apis: ['setInterval'] });
  context.after(() => mock.timers.reset());
  server.answers = [{ status: 503, headers: { 'Retry-After': '60' } }];
  const track = new FakeTrack();
  const starting = client.start(track);
  await new Promise((resolve) => client.addEventListener('state', ({ detail }) => detail.retryMs && resolve()));
  track.stop();
  mock.timers.tick(1000);
  await assert.rejects(starting, { name: 'AbortError' });
  assert.equal(client.state, 'stopped');
});

test('a microphone that ended without an event is opened anew, once', async () => {
  await client.start();
  const first = client.track;
  first.stop();
  const replaced = new Promise((resolve) => client.addEventListener('track', resolve));
  for (const seq of [0, 1, 2]) FakePeerConnection.all[0].receive('results', { type: 'result', seq, end: seq });
  await replaced;
  await new Promise(setImmediate);
  assert.notEqual(client.track, first);
  assert.equal(microphones.asked.length, 2);
});

test('a track that has ended already is not gone over to', async () => {
  await client.start(new FakeTrack());
  const ended = new FakeTrack();
  ended.stop();
  await assert.rejects(client.replaceTrack(ended), { code: 'no_audio' });
  assert.equal(client.state, 'live');
});

test('another microphone takes over on the wing and the first is closed', async () => {
  await client.start();
  const first = client.track;
  await client.useMicrophone('desk');
  assert.equal(first.readyState, 'ended');
  assert.deepEqual(microphones.asked.at(-1).deviceId, { ideal: 'desk' });
  assert.equal(FakePeerConnection.all[0].track, client.track);
});

test('of two choices in a row the last one counts and the other is closed', async () => {
  await client.start();
  await Promise.all([client.useMicrophone('desk'), client.useMicrophone('lap')]);
  assert.equal(FakeTrack.live.size, 1);
  assert.deepEqual(microphones.asked.at(-1).deviceId, { ideal: 'lap' });
});

test('a microphone that cannot be opened leaves the one in use', async () => {
  await client.start();
  const first = client.track;
  microphones.error = new DOMException('', 'NotReadableError');
  await assert.rejects(client.useMicrophone('desk'), { code: 'busy' });
  assert.equal(client.track, first);
  assert.equal(client.state, 'live');
});

test('results that come late are passed over', async () => {
  await client.start();
  const seen = [];
  client.addEventListener('result', ({ detail }) => seen.push(detail.seq));
  for (const seq of [0, 2, 1, 3]) FakePeerConnection.all[0].receive('results', { type: 'result', seq, end: seq });
  assert.deepEqual(seen, [0, 2, 3]);
});

test('one hello is heard though each channel has one', async () => {
  let hellos = 0;
  client.addEventListener('hello', () => (hellos += 1));
  await client.start();
  assert.equal(hellos, 1);
});

test('ICE servers of the answer are in place before candidates are gathered', async () => {
  server.answers = [{ status: 201, headers: { Link: '<turn:t>; rel="ice-server"; username="u"; credential="c"' } }];
  let whenGathering;
  const original = FakePeerConnection.prototype.setLocalDescription;
  FakePeerConnection.prototype.setLocalDescription = async function () {
    whenGathering = this.configuration.iceServers;
  };
  await client.start();
  FakePeerConnection.prototype.setLocalDescription = original;
  assert.deepEqual(whenGathering, [{ urls: 'turn:t', username: 'u', credential: 'c' }]);
});

test('a page that goes away deletes its session with a request that outlives it', async (context) => {
  const listeners = new Map();
  globalThis.addEventListener = (type, listener) => listeners.set(type, listener);
  globalThis.removeEventListener = (type) => listeners.delete(type);
  context.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  });
  await client.start();
  listeners.get('pagehide')();
  assert.equal(FakePeerConnection.open.size, 0, 'closed in the very same moment');
  await client.stop();
  assert.equal(server.count('DELETE'), 1);
  assert.equal(listeners.size, 0);
});

test('a relay policy is handed to the connection', async () => {
  client = new VoxgenderClient('http://server.test/whip', {
    iceTransportPolicy: 'relay',
    iceServers: [{ urls: 'turn:t' }],
  });
  const handed = [];
  globalThis.RTCPeerConnection = class extends FakePeerConnection {
    constructor(configuration) {
      super(configuration);
      handed.push(configuration.iceTransportPolicy);
    }
    addEventListener() {}
  };
  await client.start();
  assert.deepEqual(handed, ['relay']);
});

test('a token that expires is asked for before each call', async () => {
  const tokens = ['first', 'second'];
  client = new VoxgenderClient('http://server.test/whip', { token: async () => tokens.shift() });
  await client.start();
  const again = reached('live');
  FakePeerConnection.all[0].vanish();
  await again;
  const shown = server.requests.filter(({ method }) => method === 'POST').map(({ headers }) => headers.Authorization);
  assert.deepEqual(shown, ['Bearer first', 'Bearer second']);
});

test('a token that cannot be had now is asked for again', async () => {
  let asked = 0;
  client = new VoxgenderClient('http://server.test/whip', {
    token: () => {
      asked += 1;
      if (asked === 1) throw new TypeError('offline');
      return 'token';
    },
  });
  const refused = new Promise((resolve) =>
    client.addEventListener('state', ({ detail }) => detail.error && resolve(detail.error)),
  );
  const live = client.start();
  assert.equal((await refused).code, 'no_token');
  await live;
});

for (const gone of [404, 410]) {
  test(`a ${gone} from a session that a silent server was asked for means a new call`, async (context) => {
    await client.start();
    server.sessions.clear();
    server.gone = gone;
    mock.timers.enable({ apis: ['setTimeout'] });
    context.after(() => mock.timers.reset());
    FakePeerConnection.all[0].receive('results', { type: 'result', seq: 0, end: 1 });
    const lost = reached('reconnecting');
    mock.timers.tick(2000);
    assert.equal((await lost).error.code, 'lost');
  });
}

test('a session that is gone when candidates are told means a new call', async () => {
  client = new VoxgenderClient('http://server.test/whip', { iceServers: [{ urls: 'stun:s' }] });
  await client.start();
  server.sessions.clear();
  const lost = reached('reconnecting');
  FakePeerConnection.all[0].onicecandidate({ candidate: null });
  assert.equal((await lost).error.code, 'lost');
  await reached('live');
});

test('a session is announced with the hello of the server as it came', async () => {
  const sessions = [];
  client.addEventListener('session', ({ detail }) => sessions.push(detail));
  await client.start();
  assert.deepEqual(sessions, [{ hello: { v: 1, type: 'hello', session: 's', hop_ms: 192 }, resumedAt: 0 }]);
});

test('the running total grows with the results, spans losses, and is the summary at the end', async () => {
  assert.equal(client.total.duration, 0);
  await client.start();
  FakePeerConnection.all[0].receive('results', { type: 'result', seq: 0, end: 0.5, label: 'female', confidence: 1 });
  assert.equal(client.total.female, 0.5);
  FakePeerConnection.all[0].vanish();
  await reached('live');
  FakePeerConnection.all[1].receive('results', { type: 'result', seq: 0, end: 0.2, label: 'male', confidence: 1 });
  assert.deepEqual([client.total.female, client.total.male], [0.5, 0.2]);
  const summary = await client.stop();
  assert.deepEqual(client.total, summary);
  await client.start();
  assert.equal(client.total.duration, 0, 'a start counts anew');
});

test('a policy of one’s own decides when to call again, and when no more', async () => {
  const asked = [];
  const reconnectPolicy = ({ failures, error }) => {
    asked.push([failures, error.code]);
    return failures < 2 ? 1 : null;
  };
  client = new VoxgenderClient('http://server.test/whip', { reconnectPolicy });
  server.answers = [{ status: 401, body: '{"code":"unauthorized"}' }];
  await assert.rejects(client.start(), { code: 'unauthorized' });
  assert.deepEqual(asked, [
    [0, 'unauthorized'],
    [1, 'unauthorized'],
    [2, 'unauthorized'],
  ]);
  assert.equal(server.count('POST'), 3);
});

for (const [what, policy] of [
  ['gives no number', () => undefined],
  ['gives NaN', () => NaN],
  ['gives Infinity, which a timer would take for nothing', () => Infinity],
]) {
  test(`a policy that ${what} gives up`, async () => {
    client = new VoxgenderClient('http://server.test/whip', { reconnectPolicy: policy });
    server.answers = [{ status: 503 }];
    await assert.rejects(client.start(), { status: 503 });
    assert.equal(server.count('POST'), 1);
  });
}

test('a policy that throws is a failure, not a loop', async () => {
  const reconnectPolicy = () => {
    throw new TypeError('oops');
  };
  client = new VoxgenderClient('http://server.test/whip', { reconnectPolicy });
  server.answers = [{ status: 503 }];
  await assert.rejects(client.start(), { code: 'unexpected' });
  assert.equal(server.count('POST'), 1);
});

test('a Retry-After that no timer can hold is not taken for nothing', async () => {
  server.answers = [{ status: 503, headers: { 'Retry-After': '99999999' } }];
  const refused = new Promise((resolve) =>
    client.addEventListener('state', ({ detail }) => detail.retryMs !== null && resolve(detail.retryMs)),
  );
  client.start().catch(() => {});
  assert.equal(await refused, 2 ** 31 - 1);
});
