// A server that asks its callers to go elsewhere: make before break.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { VoxgenderClient } from '../src/voxgender-client.js';
import { FakeMicrophones, FakePeerConnection, FakeServer, FakeTrack, runTasks } from './fakes.js';

let server, client, told, states;

beforeEach(async () => {
  server = new FakeServer().install();
  new FakeMicrophones().install();
  client = new VoxgenderClient('http://server.test/whip');
  [told, states] = [[], []];
  client.addEventListener('session', ({ detail }) => told.push(['session', detail.resumedAt]));
  for (const type of ['result', 'change', 'segment']) {
    client.addEventListener(type, ({ detail }) => told.push([type, detail.mark]));
  }
  client.addEventListener('state', ({ detail }) => states.push(detail));
  await client.start();
});

afterEach(async () => {
  mock.timers.reset();
  await client.stop();
  assert.equal(FakePeerConnection.open.size, 0, 'a peer connection was left open');
  assert.equal(server.sessions.size, 0, 'a session was left on the server');
  assert.equal(FakeTrack.live.size, 0, 'a microphone was left open');
});

/** Lets all that was started run as far as it can without any time passing. */
const seqs = new WeakMap();

function result(connection, mark, label = 'female', end = undefined) {
  const seq = (seqs.get(connection) ?? 0) + 1;
  seqs.set(connection, seq);
  connection.receive('results', { type: 'result', seq, end: end ?? seq * 0.2, label, confidence: 0.9, mark });
}

function drain(connection) {
  connection.receive('events', { type: 'warning', code: 'draining', message: 'Go elsewhere.' });
}

const statesTold = () => states.map(({ state }) => state);
const marks = () => told.map(([, mark]) => mark);

test('another call takes over with the same microphone, and nothing is told twice or left out', async () => {
  const [old] = FakePeerConnection.all;
  result(old, 'old 1');
  drain(old);
  await runTasks();
  const fresh = FakePeerConnection.all[1];
  assert.equal(fresh.track, old.track);
  result(old, 'old 2');
  assert.equal(server.count('DELETE'), 0, 'the old call is told until the other one hears something');
  result(fresh, 'held back');
  result(old, 'old 3');
  await runTasks();
  assert.equal(server.count('DELETE'), 1);
  assert.equal(old.connectionState, 'closed');
  result(fresh, 'fresh 2');
  assert.deepEqual(told, [
    ['session', 0],
    ['result', 'old 1'],
    ['result', 'old 2'],
    ['result', 'old 3'],
    ['session', 0.2],
    ['result', 'fresh 2'],
  ]);
  assert.deepEqual(statesTold(), ['requesting-microphone', 'connecting', 'live']);
});

test('what the old call says last comes before anything of the other one', async () => {
  const [old] = FakePeerConnection.all;
  result(old, 'old');
  drain(old);
  await runTasks();
  const fresh = FakePeerConnection.all[1];
  let asked;
  const original = globalThis.fetch;
  globalThis.fetch = (url, options) =>
    options.method === 'DELETE'
      ? (asked ??= new Promise((go) => setImmediate(go)).then(() => original(url, options)))
      : original(url, options);
  result(fresh, 'while the old one ends');
  old.receive('events', { type: 'segment', mark: 'last segment' });
  await runTasks();
  globalThis.fetch = original;
  assert.deepEqual(marks(), [0, 'old', 'last segment', 0, 'while the old one ends']);
});

test('the sums count what both calls heard once', async () => {
  const [old] = FakePeerConnection.all;
  server.summary = { duration: 10, speech: 6, male: 0, female: 6, uncertain: 0, segments: 1 };
  result(old, 1);
  drain(old);
  await runTasks();
  const fresh = FakePeerConnection.all[1];
  for (const mark of [1, 2, 3]) {
    result(fresh, mark, 'male');
    result(old, mark);
  }
  result(fresh, 4);
  result(old, 4);
  await runTasks();
  server.summary = { duration: 20, speech: 10, male: 1, female: 9, uncertain: 0, segments: 2 };
  const { duration, speech, male, female } = await client.stop();
  // 0.8 s of the other call were the old one's, 0.6 s of them taken for a man.
  assert.deepEqual(
    [duration, speech, male, female].map((s) => s.toFixed(1)),
    ['29.2', '15.2', '0.4', '14.8'],
  );
});

test('a new call that hears something else gets a moment to find its feet', async () => {
  const [old] = FakePeerConnection.all;
  result(old, 'old');
  drain(old);
  await runTasks();
  mock.timers.enable({ apis: ['setTimeout'] });
  const fresh = FakePeerConnection.all[1];
  result(fresh, 'unsure', 'uncertain');
  await runTasks();
  assert.equal(server.count('DELETE'), 0);
  mock.timers.tick(1_500);
  await runTasks();
  assert.equal(server.count('DELETE'), 1);
});

test('a voice that goes on is no change, and another one changes from it', async () => {
  const [old] = FakePeerConnection.all;
  old.receive('events', { type: 'change', from: 'no_speech', to: 'female', mark: 'first' });
  result(old, 'old');
  drain(old);
  await runTasks();
  const second = FakePeerConnection.all[1];
  second.receive('events', { type: 'change', from: 'no_speech', to: 'female', mark: 'the same voice' });
  result(second, 'held back');
  result(old, 'old');
  await runTasks();
  drain(second);
  await runTasks();
  const third = FakePeerConnection.all[2];
  const changes = [];
  client.addEventListener('change', ({ detail }) => changes.push(detail));
  result(third, 'held back');
  result(second, 'second');
  await runTasks();
  third.receive('events', { type: 'change', from: 'no_speech', to: 'male', mark: 'another' });
  third.receive('events', { type: 'change', from: 'male', to: 'female', mark: 'and back' });
  assert.deepEqual(
    changes.map(({ from, to }) => [from, to]),
    [
      ['female', 'male'],
      ['male', 'female'],
    ],
  );
  assert.ok(!marks().includes('the same voice'));
});

test('a change that both calls have told before one takes over is told once', async () => {
  const [old] = FakePeerConnection.all;
  const changes = [];
  client.addEventListener('change', ({ detail }) => changes.push([detail.from, detail.to]));
  old.receive('events', { type: 'change', from: 'no_speech', to: 'female' });
  result(old, 'old');
  drain(old);
  await runTasks();
  const fresh = FakePeerConnection.all[1];
  fresh.receive('events', { type: 'change', from: 'no_speech', to: 'female' });
  old.receive('events', { type: 'change', from: 'female', to: 'male' });
  fresh.receive('events', { type: 'change', from: 'female', to: 'male' });
  result(old, 'old', 'male');
  result(fresh, 'fresh', 'male');
  await runTasks();
  assert.equal(old.connectionState, 'closed');
  assert.deepEqual(changes, [
    ['no_speech', 'female'],
    ['female', 'male'],
  ]);
});

test('hops of two seconds are counted whole where both calls have heard them', async () => {
  await client.stop();
  server.hello = { session: 's', hop_ms: 1_920 };
  server.summary = { duration: 10, speech: 6, male: 0, female: 6, uncertain: 0, segments: 1 };
  await client.start();
  const old = FakePeerConnection.all.at(-1);
  result(old, 1, 'female', 1.92);
  drain(old);
  await runTasks();
  const fresh = FakePeerConnection.all.at(-1);
  result(fresh, 1, 'male', 1.92);
  result(fresh, 2, 'male', 3.84);
  result(old, 2, 'female', 3.84);
  result(fresh, 3, 'female', 5.76);
  await runTasks();
  assert.equal(old.connectionState, 'closed');
  server.summary = { duration: 20, speech: 10, male: 4, female: 6, uncertain: 0, segments: 2 };
  const { male } = await client.stop();
  assert.equal(male.toFixed(2), '0.16');
});

test('while no other call can be had the old one is stayed with', async () => {
  const [old] = FakePeerConnection.all;
  server.answers = [
    { status: 201 },
    { status: 503, headers: { 'Retry-After': '5' }, body: '{"code":"draining"}' },
    { status: 201 },
  ].slice(1);
  mock.timers.enable({ apis: ['setTimeout'] });
  drain(old);
  await runTasks();
  assert.equal(server.count('POST'), 2);
  result(old, 'still told');
  mock.timers.tick(4_999);
  await runTasks();
  assert.equal(server.count('POST'), 2, 'the wait that was asked for is kept');
  drain(old);
  mock.timers.tick(2_501);
  await runTasks();
  assert.equal(server.count('POST'), 3);
  assert.deepEqual(marks(), [0, 'still told']);
  assert.equal(client.state, 'live');
  mock.timers.reset();
  result(FakePeerConnection.all[2], 'taken over');
  await runTasks();
  assert.deepEqual(marks(), [0, 'still told', 0, 'taken over']);
});

test('a loss is told once, however often another call was tried before it', async () => {
  const [old] = FakePeerConnection.all;
  server.answers = [{ status: 503 }];
  mock.timers.enable({ apis: ['setTimeout'] });
  drain(old);
  await runTasks();
  for (let i = 0; i < 3; i += 1) {
    mock.timers.tick(1_900);
    drain(old);
    await runTasks();
  }
  assert.ok(server.count('POST') > 3);
  server.answers = [{ status: 201 }];
  old.vanish();
  await runTasks();
  const losses = states.filter(({ state }) => state === 'reconnecting');
  assert.deepEqual(
    losses.map(({ error, retryMs }) => [error.code, retryMs === null]),
    [
      ['lost', true],
      ['lost', false],
    ],
  );
});

test('a refusal that no waiting heals leaves the old call as long as it lives', async () => {
  const [old] = FakePeerConnection.all;
  server.answers = [{ status: 401 }];
  drain(old);
  await runTasks();
  result(old, 'still told');
  assert.equal(client.state, 'live');
  const failed = new Promise((resolve) =>
    client.addEventListener('state', ({ detail }) => detail.state === 'failed' && resolve(detail.error)),
  );
  old.vanish();
  assert.equal((await failed).status, 401);
});

test('an old call that is lost before another one is there is called again for', async () => {
  const [old] = FakePeerConnection.all;
  server.answers = [{ status: 503, headers: { 'Retry-After': '60' } }];
  drain(old);
  await runTasks();
  server.answers = [{ status: 201 }];
  old.vanish();
  await new Promise((resolve) =>
    client.addEventListener('state', ({ detail }) => detail.state === 'live' && resolve()),
  );
  assert.deepEqual(statesTold().slice(-3), ['reconnecting', 'reconnecting', 'live']);
});

test('an old call that is lost while another one is being placed says so until that is there', async () => {
  const [old] = FakePeerConnection.all;
  let answer;
  server.answers = [() => new Promise((resolve) => (answer = resolve))];
  drain(old);
  await runTasks();
  old.vanish();
  await runTasks();
  assert.equal(client.state, 'reconnecting');
  answer({ status: 201 });
  await runTasks();
  assert.equal(client.state, 'live');
  result(FakePeerConnection.all[1], 'fresh');
  assert.equal(marks().at(-1), 'fresh');
  assert.equal(server.count('POST'), 2);
});

test('a new call that is lost before it could take over is tried again', async () => {
  const [old] = FakePeerConnection.all;
  drain(old);
  await runTasks();
  mock.timers.enable({ apis: ['setTimeout'] });
  FakePeerConnection.all[1].vanish();
  await runTasks();
  result(old, 'still told');
  mock.timers.tick(500);
  await runTasks();
  mock.timers.reset();
  assert.equal(server.count('POST'), 3);
  assert.equal(client.state, 'live');
  result(FakePeerConnection.all[2], 'held back');
  result(old, 'old');
  await runTasks();
  assert.equal(old.connectionState, 'closed');
});

test('another microphone goes to both calls', async () => {
  const [old] = FakePeerConnection.all;
  drain(old);
  await runTasks();
  await client.useMicrophone('desk');
  assert.equal(old.track, client.track);
  assert.equal(FakePeerConnection.all[1].track, client.track);
});

test('stopping between the two calls ends both', async () => {
  drain(FakePeerConnection.all[0]);
  await runTasks();
  assert.equal(server.sessions.size, 2);
  const { male } = await client.stop();
  assert.equal(male, 1, 'the old call sums up');
});

test('stopping while the new call is being placed ends what comes of it', async () => {
  let answer;
  server.answers = [() => new Promise((resolve) => (answer = resolve))];
  drain(FakePeerConnection.all[0]);
  await runTasks();
  await client.stop();
  answer({ status: 201 });
  await runTasks();
});
