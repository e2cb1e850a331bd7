// The ground of the hooks for React and Vue.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { LiveVoice } from '../src/live-voice.js';
import { FakeMicrophones, FakePeerConnection, FakeServer, FakeTrack, runTasks } from './fakes.js';

let server, voice, changes;

beforeEach(() => {
  server = new FakeServer().install();
  new FakeMicrophones().install();
  voice = new LiveVoice('http://server.test/whip');
  changes = 0;
  voice.subscribe(() => (changes += 1));
});

const hear = (label) =>
  FakePeerConnection.all.at(-1).receive('results', { type: 'result', seq: changes, end: 1, label, confidence: 0.9 });

test('a snapshot stays the same object until something changes', async () => {
  const idle = voice.snapshot();
  assert.equal(voice.snapshot(), idle);
  voice.follow(new FakeTrack());
  await runTasks();
  hear('male');
  assert.notEqual(voice.snapshot(), idle);
  const { state, transport, label, error } = voice.snapshot();
  assert.deepEqual([state, transport, label, error], ['live', 'webrtc', 'male', null]);
  assert.equal(voice.snapshot(), voice.snapshot());
  await voice.stop();
  assert.equal(voice.snapshot().label, null);
});

test('without results the label is that of the voice that was changed to: it stayed null', async () => {
  server.hello = { session: 's', hop_ms: 192, messages: ['change', 'summary'] };
  voice.follow(new FakeTrack());
  await runTasks();
  FakePeerConnection.all.at(-1).receive('events', { type: 'change', from: 'no_speech', to: 'female', at: 1 });
  assert.equal(voice.snapshot().label, 'female');
  await voice.stop();
  assert.equal(voice.snapshot().label, null);
});

test('with results the label is theirs, whatever a change says', async () => {
  voice.follow(new FakeTrack());
  await runTasks();
  hear('uncertain');
  FakePeerConnection.all.at(-1).receive('events', { type: 'change', from: 'no_speech', to: 'female', at: 1 });
  assert.equal(voice.snapshot().label, 'uncertain');
  await voice.stop();
});

test('another source takes over in the same session, and none ends it', async () => {
  voice.follow(new FakeTrack());
  await runTasks();
  const other = new FakeTrack();
  voice.follow(other);
  await runTasks();
  assert.equal(voice.client.track, other);
  assert.equal(server.count('POST'), 1);
  voice.follow(null);
  await runTasks();
  assert.equal(voice.snapshot().state, 'stopped');
  assert.equal(server.sessions.size, 0);
});

test('a component that goes and comes at once, as in strict mode, listens', async () => {
  const track = new FakeTrack();
  voice.follow(track);
  voice.stop();
  voice.follow(track);
  await runTasks();
  assert.equal(voice.snapshot().state, 'live');
  await voice.stop();
  assert.equal(server.sessions.size, 0);
});

test('a failure is in the snapshot, and another source may follow it', async () => {
  server.answers = [{ status: 401 }, { status: 201 }];
  voice.follow(new FakeTrack());
  await runTasks();
  assert.equal(voice.snapshot().error.code, 'http_401');
  voice.follow(new FakeTrack());
  await runTasks();
  assert.equal(voice.snapshot().state, 'live');
  await voice.stop();
});

test('nobody who has left is told', async () => {
  let told = 0;
  voice.subscribe(() => (told += 1))();
  voice.start();
  await runTasks();
  assert.equal(told, 0);
  await voice.stop();
});
