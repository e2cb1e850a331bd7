// A session that the server still has, but of which no message comes any more: another call, make before break.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { VoxgenderClient } from '../src/voxgender-client.js';
import { FakeMicrophones, FakePeerConnection, FakeServer, runTasks } from './fakes.js';

let server, client, states, heard, old;

beforeEach(async () => {
  server = new FakeServer().install();
  new FakeMicrophones().install();
  client = new VoxgenderClient('http://server.test/whip');
  [states, heard] = [[], []];
  await client.start();
  client.addEventListener('state', ({ detail }) => states.push([detail.state, detail.error?.code ?? null]));
  client.addEventListener('result', ({ detail }) => heard.push(detail.mark));
  [old] = FakePeerConnection.all;
  mock.timers.enable({ apis: ['setTimeout'] });
  result(old, 1, 'old');
});

afterEach(async () => {
  mock.timers.reset();
  await client.stop();
  assert.equal(FakePeerConnection.open.size, 0, 'a peer connection was left open');
  assert.equal(server.sessions.size, 0, 'a session was left on the server');
});

function result(connection, seq, mark, label = 'female') {
  connection.receive('results', { type: 'result', seq, end: seq * 0.2, label, confidence: 0.9, mark });
}

async function nothingFor(...waitsMs) {
  for (const ms of waitsMs) {
    mock.timers.tick(ms);
    await runTasks();
  }
}

test('another call is made, it takes over with its first result, and the old one is not waited for', async () => {
  server.summary = { duration: 9, speech: 9, male: 9, female: 0, uncertain: 0, segments: 1 };
  await nothingFor(1500, 300);
  assert.equal(server.count('POST'), 2);
  assert.deepEqual(states, [['reconnecting', 'unheard']]);
  assert.equal(old.connectionState, 'new', 'the old call is kept until another one is there');
  result(FakePeerConnection.all[1], 1, 'fresh', 'male');
  await runTasks();
  assert.deepEqual(states.at(-1), ['live', null]);
  assert.deepEqual(heard, ['old', 'fresh']);
  assert.equal(old.connectionState, 'closed');
  assert.equal(server.count('DELETE'), 1);
});

test('a call that is heard again while another one is being made is live at once', async () => {
  let answer;
  server.answers = [() => new Promise((resolve) => (answer = resolve))];
  await nothingFor(1500, 300);
  result(old, 2, 'again');
  assert.deepEqual(states, [
    ['reconnecting', 'unheard'],
    ['live', null],
  ]);
  answer({ status: 201 });
  await runTasks();
  result(FakePeerConnection.all[1], 1, 'fresh');
  await runTasks();
  assert.deepEqual(heard, ['old', 'again', 'fresh']);
  assert.equal(server.sessions.size, 1);
});

test('a message that comes while the server is asked is enough', async () => {
  await nothingFor(1500, 200);
  result(old, 2, 'late');
  await nothingFor(1400);
  assert.equal(server.count('POST'), 1);
  assert.deepEqual(states, []);
});

test('another call of which nothing is heard either is given up and tried again later', async () => {
  await nothingFor(1500, 300);
  const second = FakePeerConnection.all[1];
  await nothingFor(1500, 300);
  assert.equal(second.connectionState, 'closed');
  assert.equal(old.connectionState, 'new');
  assert.equal(server.count('POST'), 2);
  await nothingFor(500);
  assert.equal(server.count('POST'), 3);
  assert.deepEqual(states.at(-1), ['reconnecting', 'unheard']);
  result(FakePeerConnection.all[2], 1, 'third');
  await runTasks();
  assert.deepEqual(heard, ['old', 'third']);
  assert.equal(client.state, 'live');
});

test('a session that is gone in the meantime is lost', async () => {
  server.answers = [{ status: 503, headers: { 'Retry-After': '60' } }];
  await nothingFor(1500, 300);
  server.sessions.clear();
  server.answers = [{ status: 201 }];
  await nothingFor(1500, 500);
  assert.deepEqual(states.slice(-2), [
    ['reconnecting', 'lost'],
    ['live', null],
  ]);
});

for (const code of ['overloaded', 'no_media']) {
  test(`a server that said ${code} is not called again for having no results`, async () => {
    old.receive('events', { type: 'warning', code, message: '' });
    await nothingFor(1500, 300, 1500, 300);
    assert.equal(server.count('POST'), 1);
    assert.deepEqual(states, []);
  });
}

test('a server that does not even answer is not waited for', async () => {
  server.hangs = true;
  await nothingFor(1500, 800, 300);
  assert.equal(server.count('POST'), 2);
  assert.deepEqual(states, [['reconnecting', 'unheard']]);
  assert.equal(old.connectionState, 'new', 'it may only be slow');
  result(FakePeerConnection.all[1], 1, 'fresh');
  await runTasks();
  assert.deepEqual(heard, ['old', 'fresh']);
});

test('a track that has given nothing yet is no reason to call again', async () => {
  old.packetsSent = 0;
  await nothingFor(1500, 300, 1500, 300);
  assert.equal(server.count('POST'), 1);
  old.packetsSent = 50;
  await nothingFor(1500, 300);
  assert.equal(server.count('POST'), 2);
});

test('stopping while another call is made leaves neither', async () => {
  await nothingFor(1500, 300);
  mock.timers.reset();
  await client.stop();
  assert.equal(server.count('DELETE'), 2);
});
