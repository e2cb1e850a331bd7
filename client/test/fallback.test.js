// Where WebRTC finds no way through, the voice goes over a WebSocket.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { listenUrl } from '../src/listen.js';
import { tap } from '../src/tap.js';
import { VoxgenderClient } from '../src/voxgender-client.js';
import {
  FakeAudioContext,
  FakeMicrophones,
  FakePeerConnection,
  FakeServer,
  FakeTrack,
  FakeWebSocket,
  capture,
  runTasks,
} from './fakes.js';

const ANSWER = { status: 201, body: 'a=candidate:1 1 udp 1 203.0.113.9 9 typ host' };

let server, client, states, warnings;

beforeEach(() => {
  server = new FakeServer().install();
  server.reachable = false;
  server.answers = [ANSWER];
  new FakeMicrophones().install();
  FakeAudioContext.install();
  FakeWebSocket.install();
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  listenWith({});
});

afterEach(async () => {
  mock.timers.reset();
  mock.restoreAll();
  await client.stop();
  FakeAudioContext.uninstall();
  FakeWebSocket.uninstall();
  assert.equal(FakePeerConnection.open.size, 0, 'a peer connection was left open');
  assert.equal(server.sessions.size, 0, 'a session was left on the server');
  assert.equal(FakeAudioContext.open.size, 0, 'an audio context was left open');
  assert.ok(
    FakeWebSocket.all.every(({ readyState }) => readyState === 3),
    'a socket was left open',
  );
});

function listenWith(options) {
  [states, warnings] = [[], []];
  client = new VoxgenderClient('http://server.test/whip', options);
  client.addEventListener('state', ({ detail }) => states.push([detail.state, detail.transport]));
  client.addEventListener('warning', ({ detail }) => warnings.push(detail.code));
}

async function after(ms) {
  await runTasks();
  mock.timers.tick(ms);
  await runTasks();
}

/** Speak for some seconds; the server tells a result at the end of each hop, if it does at all. */
function speak(seconds, resultEveryS = null) {
  let toldS = resultEveryS;
  for (let frame = 1; frame * 0.04 <= seconds; frame += 1) {
    capture(1);
    if (toldS === null || frame * 0.04 < toldS) continue;
    socket().receive(result(toldS, frame));
    toldS += resultEveryS;
  }
}

const tickets = () =>
  server.requests.filter(({ url }) => new URL(url).pathname === '/listen').map(({ url }) => new URL(url));
const socket = () => FakeWebSocket.all.at(-1);
const result = (end, seq = 1) => ({ type: 'result', seq, start: end - 1, end, label: 'male', confidence: 0.9 });

async function fallBack(source) {
  const live = client.start(source);
  await after(3_000);
  await live;
}

test('after 3 s without a way through the voice goes over a WebSocket, and the state says so', async () => {
  const live = client.start();
  await after(2_900);
  assert.equal(FakeWebSocket.all.length, 0);
  await after(100);
  await live;
  assert.deepEqual(states.at(-1), ['live', 'websocket']);
  assert.equal(client.transport, 'websocket');
  assert.equal(server.count('DELETE'), 1, 'the place of the call that came to nothing is free again');
  assert.equal(FakePeerConnection.open.size, 0);
  assert.match(socket().url, /^ws:\/\/server\.test\/listen\/ticket-/);
  assert.deepEqual(socket().protocols, ['voxgender']);
});

test('a server that names no address is not waited for', async () => {
  server.answers = [{ status: 201 }];
  await client.start();
  assert.equal(client.transport, 'websocket');
});

test('ICE that fails is not waited for', async () => {
  const live = client.start();
  await runTasks();
  FakePeerConnection.all[0].vanish();
  await live;
  assert.equal(client.transport, 'websocket');
});

test('a browser without WebRTC goes over a WebSocket at once', async () => {
  delete globalThis.RTCPeerConnection;
  await client.start();
  assert.equal(client.transport, 'websocket');
});

test('where media gets through there is no WebSocket', async () => {
  server.reachable = true;
  await client.start();
  await after(5_000);
  assert.deepEqual(states.at(-1), ['live', 'webrtc']);
  assert.equal(FakeWebSocket.all.length, 0);
});

for (const options of [{ transport: 'webrtc' }, { iceTransportPolicy: 'relay' }]) {
  test(`${JSON.stringify(options)} stays with WebRTC`, async () => {
    listenWith(options);
    client.start();
    await after(3_500);
    await after(7_000);
    assert.equal(FakeWebSocket.all.length, 0);
    assert.equal(states.at(-1)[0], 'connecting');
  });
}

test('a WebSocket that is asked for is the first thing that is tried', async () => {
  listenWith({ transport: 'websocket' });
  await client.start();
  assert.equal(server.count('POST'), 1);
  assert.deepEqual(states.at(-1), ['live', 'websocket']);
});

test('a server that has no /listen leaves the error what it was', async () => {
  server.ticket = { status: 404, headers: {} };
  const errors = [];
  client.addEventListener('state', ({ detail }) => errors.push(detail.error?.code));
  client.start();
  await after(3_000);
  assert.equal(errors.at(-1), 'no_media_path');
});

test('a refusal is told with its code, and its token never stands in an address', async () => {
  listenWith({ transport: 'websocket', token: 'secret' });
  const body = JSON.stringify({ code: 'forbidden', detail: 'Not you.' });
  server.ticket = { status: 403, body, headers: {} };
  await assert.rejects(client.start(), { code: 'forbidden' });
  assert.equal(server.requests[0].headers.Authorization, 'Bearer secret');
  assert.ok(!server.requests[0].url.includes('secret'));
});

test('a later start tries WebRTC again, a call in between does not', async () => {
  await fallBack();
  socket().end(1006);
  await after(500);
  assert.equal(FakePeerConnection.all.length, 1);
  assert.deepEqual(states.at(-1), ['live', 'websocket']);
  await client.stop();
  server.reachable = true;
  await client.start();
  assert.equal(client.transport, 'webrtc');
});

test('frames are sent as they come, and not before the server listens', async () => {
  FakeWebSocket.greets = false;
  listenWith({ transport: 'websocket' });
  client.start();
  await runTasks();
  capture(3);
  assert.equal(socket().sounds, 0);
  socket().receive({ type: 'hello', session: 's', hop_ms: 192 });
  capture(3);
  assert.equal(socket().sounds, 3);
  assert.equal(tickets()[0].search, '?encoding=s16le&rate=16000&channels=1&from_ms=0');
  assert.equal(new Int16Array(socket().sent.find((data) => data instanceof ArrayBuffer))[0], 16_384);
});

test('a call that was lost goes on where the last result ended', async () => {
  await fallBack();
  const sessions = [];
  client.addEventListener('session', ({ detail }) => sessions.push(detail.resumedAt));
  for (let seq = 1; seq <= 10; seq += 1) socket().receive(result(0.5 * seq, seq));
  socket().end(1001, 'The server is restarting.');
  await after(500);
  assert.equal(tickets().at(-1).searchParams.get('from_ms'), '5000');
  assert.deepEqual(sessions, [5]);
  socket().receive(result(5.5));
  assert.equal(client.total.duration, 5.5);
});

test('a server that drains is left for another one while it still listens', async () => {
  await fallBack();
  const old = socket();
  old.receive(result(0.2));
  old.receive({ type: 'warning', code: 'draining', message: '' });
  await runTasks();
  assert.equal(FakeWebSocket.all.length, 2);
  socket().receive(result(0.2));
  await runTasks();
  assert.equal(old.readyState, 3);
  assert.equal(client.state, 'live');
  assert.equal(FakePeerConnection.all.length, 1);
});

test('sound that the network does not take is dropped and told, not queued', async () => {
  await fallBack();
  capture(250);
  assert.ok(socket().sounds * 0.04 <= 1.6, `${socket().sounds * 0.04} s are on their way`);
  assert.deepEqual(warnings, ['slow_network']);
  const sentS = socket().sounds * 0.04;
  socket().receive(result(sentS));
  capture(5);
  assert.equal(socket().sounds * 0.04, sentS + 0.2);
  const ends = [];
  client.addEventListener('result', ({ detail }) => ends.push(detail.end));
  socket().receive(result(sentS + 0.2, 2));
  assert.ok(Math.abs(ends[0] - 10.2) < 0.02, 'the times are those of the live clock');
});

test('a call without results goes on: after 1.5 s nothing of it was heard any more', async () => {
  server.hello = { session: 's', hop_ms: 192, messages: ['change', 'summary'] };
  await fallBack();
  speak(20);
  assert.equal(socket().sounds, 500);
  assert.deepEqual(warnings, []);
});

test('a call with hops of two seconds goes on: after 1.5 s nothing of it was heard any more', async () => {
  server.hello = { session: 's', hop_ms: 1_984 };
  await fallBack();
  speak(20, 1.984);
  assert.equal(socket().sounds, 500);
  assert.deepEqual(warnings, []);
});

test('a call without results goes on in time after a loss: its clock began at 0 again', async () => {
  server.hello = { session: 's', hop_ms: 192, messages: ['change', 'segment', 'summary'] };
  listenWith({ reconnectPolicy: () => 500 });
  await fallBack();
  const sessions = [];
  client.addEventListener('session', ({ detail }) => sessions.push(detail.resumedAt));
  speak(10);
  socket().receive({ type: 'change', at: 3, from: 'no_speech', to: 'male', confidence: 1 });
  socket().end(1001);
  await after(500);
  assert.equal(tickets().at(-1).searchParams.get('from_ms'), '10000');
  speak(2);
  socket().end(1001);
  await after(500);
  socket().end(1001);
  await after(500);
  assert.deepEqual(sessions, [10, 12, 12]);
});

test('a call that was lost goes on where its last segment ended, if that was told after the last result', async () => {
  await fallBack();
  socket().receive(result(4));
  socket().receive({ type: 'segment', start: 1, end: 5, label: 'male', confidence: 1 });
  socket().end(1001);
  await after(500);
  assert.equal(tickets().at(-1).searchParams.get('from_ms'), '5000');
});

test('a call that took over is gone on with by its own clock, not by that of the call before it', async () => {
  await fallBack();
  socket().receive(result(300));
  socket().receive({ type: 'warning', code: 'draining', message: '' });
  await runTasks();
  socket().receive(result(0.2));
  await runTasks();
  socket().receive(result(0.4, 2));
  socket().end(1001);
  await after(500);
  assert.equal(tickets().at(-1).searchParams.get('from_ms'), '400');
});

test('options in the endpoint’s own query hold by a WebSocket too: they were lost', async () => {
  client = new VoxgenderClient('http://server.test/whip?name=studio', { tags: ['pilot'] });
  await fallBack();
  const asked = Object.fromEntries(tickets()[0].searchParams);
  assert.equal(asked.name, 'studio');
  assert.equal(asked.tags, 'pilot');
  assert.equal(asked.encoding, 's16le');
});

test('a mute of the call is mirrored with each frame: in a hidden tab it was a second late', async () => {
  let muted = false;
  const voice = tap(new FakeTrack(), { muted: () => muted });
  await fallBack(voice);
  muted = true;
  capture(1);
  assert.equal(voice.track.enabled, false);
  muted = false;
  capture(1);
  assert.equal(voice.track.enabled, true);
  voice.stop();
});

test('a socket that holds half a second is given no more', async () => {
  await fallBack();
  socket().bufferedAmount = 32_000 * 2;
  capture(5);
  assert.equal(socket().sounds, 0);
});

test('a tap that has no track is silence, and so is a mute', async () => {
  await fallBack(new FakeTrack());
  await client.replaceTrack(new FakeTrack());
  assert.equal(client.state, 'live');
  assert.equal(FakeWebSocket.all.length, 1);
});

test('a server that says nothing any more is asked, and then another call is made', async () => {
  await fallBack();
  await after(1_500);
  assert.equal(client.state, 'live');
  assert.ok(socket().sent.filter((data) => data === '{"type":"ping"}').length >= 2);
  await after(2_000);
  assert.equal(client.state, 'reconnecting');
  await after(500);
  assert.equal(client.state, 'live');
  assert.equal(FakeWebSocket.all.length, 2);
});

test('a pong is a sign of life and tells the way there and back', async () => {
  await fallBack();
  await after(1_500);
  socket().receive({ type: 'pong' });
  await after(2_000);
  assert.equal(client.state, 'live');
  assert.ok((await client.roundTripMs()) >= 0);
});

for (const code of [1003, 1007, 1009]) {
  test(`a server that closes with ${code} does not understand this client, and is not called again`, async () => {
    await fallBack();
    socket().end(code, 'No such thing.');
    await runTasks();
    assert.deepEqual(states.at(-1), ['failed', null]);
  });
}

test('an error that the server told before it closed is the reason', async () => {
  await fallBack();
  const errors = [];
  client.addEventListener('state', ({ detail }) => errors.push(detail.error?.code));
  socket().receive({ type: 'error', code: 'call_too_long', message: '' });
  socket().end(1008);
  await runTasks();
  assert.equal(errors.at(-1), 'call_too_long');
});

test('a stop asks for the last messages and waits for the summary', async () => {
  await fallBack();
  const summary = await client.stop();
  assert.equal(summary.duration, 2);
  assert.ok(socket().sent.includes('{"type":"close"}'));
});

test('a stop while the ticket is asked for leaves nothing', async () => {
  listenWith({ transport: 'websocket' });
  client.start();
  await client.stop();
  await runTasks();
  assert.equal(client.state, 'stopped');
});

test('a worklet that cannot be loaded is told by name', async () => {
  FakeAudioContext.moduleError = new DOMException('404', 'AbortError');
  listenWith({ transport: 'websocket', workletUrl: 'https://voice.test/away/capture-worklet.js' });
  await assert.rejects(client.start(), { code: 'no_worklet', message: /capture-worklet\.js/ });
});

test('a worklet that has come before is asked for again: a restart of its server ended the client', async () => {
  await fallBack();
  FakeAudioContext.moduleError = new DOMException('Network error', 'AbortError');
  socket().end(1001);
  await runTasks();
  assert.equal(client.state, 'reconnecting');
  FakeAudioContext.moduleError = null;
  await client.stop();
});

test('a WebSocket that does not open, as behind some proxies, is told: it was "connection lost" for ever', async () => {
  FakeWebSocket.opens = false;
  const errors = [];
  listenWith({ transport: 'websocket' });
  client.addEventListener('state', ({ detail }) => errors.push(detail.error?.code));
  const live = client.start();
  await runTasks();
  assert.equal(errors.at(-1), 'no_websocket');
  assert.equal(server.count('DELETE'), 1, 'the place of its ticket is free again');
  FakeWebSocket.opens = true;
  await after(1_000);
  await live;
});

test('a page that nobody has clicked yet is waited for', async () => {
  FakeAudioContext.state = 'suspended';
  listenWith({ transport: 'websocket' });
  const live = client.start();
  await after(1_000);
  assert.equal(client.state, 'connecting');
  FakeAudioContext.state = 'running';
  await after(10_000);
  await live;
});

for (const [endpoint, url] of [
  ['https://voice.test/whip', 'https://voice.test/listen'],
  ['https://voice.test/labels/whip/?room=1#x', 'https://voice.test/labels/listen?room=1'],
]) {
  test(`${endpoint} listens at ${url}`, () => assert.equal(listenUrl(endpoint).href, url));
}
