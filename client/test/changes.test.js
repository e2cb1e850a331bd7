// Tracks, microphones and sources that change while a client begins, ends or begins again.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { LiveVoice } from '../src/live-voice.js';
import { tap } from '../src/tap.js';
import { VoxgenderClient } from '../src/voxgender-client.js';
import { FakeAudioContext, FakeMicrophones, FakePeerConnection, FakeServer, FakeTrack } from './fakes.js';

const ENDPOINT = 'http://server.test/whip';
let server, microphones, client;

beforeEach(() => {
  server = new FakeServer().install();
  microphones = new FakeMicrophones().install();
  client = new VoxgenderClient(ENDPOINT);
});

afterEach(async () => {
  await client.stop();
  for (const track of FakeTrack.live) track.stop();
  assert.equal(FakePeerConnection.open.size, 0, 'a peer connection was left open');
  assert.equal(server.sessions.size, 0, 'a session was left on the server');
});

const turn = () => new Promise(setImmediate);
const sent = () => FakePeerConnection.all.at(-1).track;

/** @param {VoxgenderClient} ofClient */
function reached(state, ofClient = client) {
  return new Promise((resolve) => {
    ofClient.addEventListener('state', ({ detail }) => detail.state === state && resolve(detail));
  });
}

test('a track that is replaced while the run before is ending is the one that is listened to', async () => {
  // The first of two quick changes was listened to, for as long as the page was open.
  const [one, two, three] = [new FakeTrack(), new FakeTrack(), new FakeTrack()];
  await client.start(one);
  client.stop();
  const starting = client.start(two);
  await client.replaceTrack(three);
  await starting;
  assert.equal(sent(), three);
  assert.equal(client.track, three);
});

test('a microphone gives way to a track while it is waited for, and while the run before is ending', async () => {
  const track = new FakeTrack();
  await client.start();
  client.stop();
  const starting = client.start();
  await client.replaceTrack(track);
  await starting;
  assert.equal(sent(), track);
  assert.equal(microphones.asked.length, 1);
});

test('a run that is ending takes no other track', async () => {
  await client.start(new FakeTrack());
  const stopping = client.stop();
  await assert.rejects(client.replaceTrack(new FakeTrack()), { code: 'not_started' });
  await stopping;
});

test('a framework goes on with another source though the one before has just ended by itself', async () => {
  // The other one was handed to the call that was ending, and was never listened to.
  const voice = new LiveVoice(ENDPOINT);
  const [one, two] = [new FakeTrack(), new FakeTrack()];
  voice.follow(one);
  await reached('live', voice.client);
  one.unplug();
  voice.follow(two);
  await reached('live', voice.client);
  assert.equal(sent(), two);
  await voice.stop();
});

test('a framework whose next source has ended already listens to the one before no more', async () => {
  const voice = new LiveVoice(ENDPOINT);
  const two = new FakeTrack();
  two.stop();
  voice.follow(new FakeTrack());
  await reached('live', voice.client);
  const failed = reached('failed', voice.client);
  voice.follow(two);
  assert.equal((await failed).error.code, 'no_audio');
  assert.equal(voice.snapshot().label, null);
});

test('a framework whose source changes three times in a row listens to the last', async () => {
  const voice = new LiveVoice(ENDPOINT);
  const [one, two, three] = [new FakeTrack(), new FakeTrack(), new FakeTrack()];
  voice.follow(one);
  await reached('live', voice.client);
  voice.follow(null);
  voice.follow(two);
  voice.follow(three);
  await reached('live', voice.client);
  assert.equal(sent(), three);
  await voice.stop();
});

test('a microphone that is chosen while the client stops is not opened', async () => {
  // It stayed open, with its light on, until the page was closed.
  await client.start();
  const stopping = client.stop();
  await client.useMicrophone('other');
  await stopping;
  await turn();
  assert.equal(FakeTrack.live.size, 0);
  await client.start();
  assert.deepEqual(microphones.asked.at(-1).deviceId, { ideal: 'other' });
});

test('a microphone that is chosen while another one is asked for is the one that is opened', async () => {
  let grant;
  const pending = new Promise((resolve) => (grant = resolve));
  const ask = microphones.getUserMedia.bind(microphones);
  microphones.getUserMedia = async (wanted) => (await pending, await ask(wanted));
  const starting = client.start();
  await reached('requesting-microphone');
  const choosing = client.useMicrophone('other');
  grant();
  await Promise.all([starting, choosing]);
  assert.deepEqual(microphones.asked.at(-1).deviceId, { ideal: 'other' });
  assert.equal(FakeTrack.live.size, 1);
  assert.ok(FakeTrack.live.has(sent()));
});

test('a browser that gives no samples of a microphone sends it all the same', async () => {
  // Firefox connects no track to an audio context of another rate, as after another loudspeaker was plugged in.
  FakeAudioContext.install();
  const create = FakeAudioContext.prototype.createMediaStreamSource;
  try {
    FakeAudioContext.prototype.createMediaStreamSource = () => {
      throw new DOMException('of another sample rate', 'NotSupportedError');
    };
    await client.start();
    assert.equal(client.state, 'live');
    await client.useMicrophone('other');
    await client.stop();
    assert.equal(FakeAudioContext.open.size, 0);
  } finally {
    FakeAudioContext.prototype.createMediaStreamSource = create;
    FakeAudioContext.uninstall();
  }
});

test('a browser without WebRTC and without AudioWorklet is told so', async () => {
  delete globalThis.RTCPeerConnection;
  for (const transport of ['auto', 'webrtc', 'websocket']) {
    const other = new VoxgenderClient(ENDPOINT, { transport });
    await assert.rejects(other.start(new FakeTrack()), { code: 'unsupported' });
    assert.equal(other.state, 'failed');
  }
});

test('an endpoint that is no address fails, and is not asked for ever', async () => {
  for (const endpoint of ['http://', 'http://server.test:99999/whip', '/without/a/page']) {
    await assert.rejects(new VoxgenderClient(endpoint).start(new FakeTrack()), { code: 'bad_endpoint' });
  }
});

test('what is no track is refused in a sentence', async () => {
  for (const source of ['track', 5, { alice: null }, { alice: 5 }]) {
    await assert.rejects(client.start(/** @type {any} */ (source)), { code: 'no_audio' });
  }
  // A call has no track before it has begun.
  assert.throws(() => tap(/** @type {any} */ (undefined)), { code: 'no_audio' });
  const later = tap(() => undefined);
  assert.equal(later.track, null);
  later.stop();
});
