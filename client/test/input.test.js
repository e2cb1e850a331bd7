// The input of a client, as it changes, ends, is taken away or goes dead.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { tap } from '../src/tap.js';
import { VoxgenderClient } from '../src/voxgender-client.js';
import { FakeAudioContext, FakeMicrophones, FakePeerConnection, FakeServer, FakeTrack, runTasks } from './fakes.js';

let server, microphones, client, inputs, nowMs;

beforeEach(() => {
  server = new FakeServer().install();
  microphones = new FakeMicrophones().install();
  FakeAudioContext.install();
  client = new VoxgenderClient('http://server.test/whip');
  inputs = [];
  client.addEventListener('input', ({ detail }) => inputs.push(detail.error?.code ?? null));
  mock.timers.enable({ apis: ['setInterval'] });
  nowMs = 0;
  mock.method(performance, 'now', () => nowMs);
});

afterEach(async () => {
  mock.timers.reset();
  mock.restoreAll();
  await client.stop();
  FakeAudioContext.uninstall();
  assert.equal(FakePeerConnection.open.size, 0);
  assert.equal(server.sessions.size, 0);
  assert.equal(FakeAudioContext.open.size, 0, 'an audio context was left open');
});

async function looks(count, everyMs = 1_000) {
  for (let look = 0; look < count; look += 1) {
    nowMs += everyMs;
    mock.timers.tick(1_000);
    await runTasks();
  }
}

const sent = () => FakePeerConnection.all[0].track;

test('a client goes on with each track of a tap, in the same session', async () => {
  let current = new FakeTrack();
  const voice = tap(() => current);
  await client.start(voice);
  assert.equal(sent(), voice.track);
  current.stop();
  mock.timers.tick(50);
  await runTasks();
  assert.equal(client.track, null);
  assert.equal(sent(), null);
  assert.equal(client.state, 'live');
  current = new FakeTrack();
  mock.timers.tick(50);
  await runTasks();
  assert.equal(sent(), voice.track);
  assert.equal(server.count('POST'), 1);
  voice.stop();
  await runTasks();
  assert.equal((await client.stop()) ?? client.state, 'stopped');
});

test('a tap of a call that has no track yet is listened to once it has one', async () => {
  let current = null;
  const voice = tap(() => current);
  await client.start(voice);
  assert.equal(client.track, null);
  current = new FakeTrack();
  mock.timers.tick(50);
  await runTasks();
  assert.equal(sent(), voice.track);
  voice.stop();
});

test('a call without a track is no warning', async () => {
  const told = [];
  client.addEventListener('warning', ({ detail }) => told.push(detail.code));
  const voice = tap(() => null);
  await client.start(voice);
  FakePeerConnection.all[0].receive('events', { type: 'warning', code: 'no_media', message: '' });
  FakePeerConnection.all[0].receive('events', { type: 'warning', code: 'overloaded', message: '' });
  assert.deepEqual(told, ['overloaded']);
  voice.stop();
});

test('each message of the server mirrors mute, where a hidden page’s timers rest', async () => {
  const original = new FakeTrack();
  await client.start(tap(() => original));
  original.enabled = false;
  FakePeerConnection.all[0].receive('results', { type: 'result', seq: 1, end: 0.2, label: 'male', confidence: 0.9 });
  assert.equal(client.track.enabled, false);
});

test('a tap that was stopped already cannot be listened to', async () => {
  const voice = tap(() => new FakeTrack());
  voice.stop();
  await assert.rejects(client.start(voice), { code: 'no_audio' });
});

test('a tap that is left for another input is not stopped', async () => {
  const voice = tap(() => original);
  const original = new FakeTrack();
  voice.sync();
  await client.start(voice);
  await client.replaceTrack(new FakeTrack());
  assert.equal(voice.track.readyState, 'live');
  voice.stop();
  assert.equal(client.state, 'live');
});

test('an own microphone that gives exact zeros is told of and opened anew', async () => {
  await client.start();
  const first = client.track;
  FakeAudioContext.sample = 0;
  await looks(3);
  assert.deepEqual(inputs, []);
  await looks(1);
  assert.deepEqual(inputs, ['silent']);
  assert.equal(microphones.asked.length, 2);
  assert.equal(first.readyState, 'ended');
  assert.equal(sent(), client.track);
  FakeAudioContext.sample = 0.001;
  await looks(1);
  assert.deepEqual(inputs, ['silent', null]);
});

test('a dead microphone is not opened anew before it is told of', async () => {
  // With a message at the wrong moment it was, and what was wrong was never said.
  await client.start();
  FakeAudioContext.sample = 0;
  for (let look = 0; look < 40; look += 1) {
    await looks(1, 130);
    if (microphones.asked.length > 1) break;
  }
  assert.equal(microphones.asked.length, 2);
  assert.deepEqual(inputs, ['silent']);
});

test('a microphone that stays dead is not opened all the time', async () => {
  await client.start();
  FakeAudioContext.sample = 0;
  await looks(8);
  assert.deepEqual(inputs, ['silent']);
  assert.equal(microphones.asked.length, 2);
});

test('a microphone that comes back to life by itself is left alone', async () => {
  await client.start();
  client.track.setMuted(true);
  await looks(4);
  client.track.setMuted(true);
  await looks(4);
  client.track.setMuted(false);
  await looks(12);
  assert.equal(microphones.asked.length, 2);
});

test('a dead microphone that is held by another program is waited for', async () => {
  await client.start();
  FakeAudioContext.sample = 0;
  microphones.error = new DOMException('', 'NotReadableError');
  await looks(5);
  assert.equal(client.state, 'live');
  assert.deepEqual(inputs, ['silent']);
});

test('a telephone call that takes the microphone is told of, and the end of it', async () => {
  await client.start();
  client.track.setMuted(true);
  assert.deepEqual(inputs, ['interrupted']);
  client.track.setMuted(false);
  assert.deepEqual(inputs, ['interrupted', null]);
  await looks(2);
  assert.equal(microphones.asked.length, 1);
});

test('a microphone that stays taken is opened anew', async () => {
  await client.start();
  client.track.setMuted(true);
  await looks(4);
  assert.equal(microphones.asked.length, 2);
  await looks(1);
  assert.deepEqual(inputs, ['interrupted', null]);
});

test('a given track that is muted is told of and left alone', async () => {
  const track = new FakeTrack();
  await client.start(track);
  track.setMuted(true);
  await looks(5);
  assert.deepEqual(inputs, ['interrupted']);
  assert.equal(track.readyState, 'live');
  assert.equal(microphones.asked.length, 0);
});

test('a microphone that its page disabled gives zeros, and that is no fault', async () => {
  await client.start();
  client.track.enabled = false;
  FakeAudioContext.sample = 0;
  await looks(5);
  assert.deepEqual(inputs, []);
});

test('a page in the background, whose audio sleeps, finds no fault', async () => {
  FakeAudioContext.state = 'suspended';
  await client.start();
  FakeAudioContext.sample = 0;
  await looks(5);
  assert.deepEqual(inputs, []);
});
