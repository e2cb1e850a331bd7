// The options of a call: asked for by either way in, and what follows where few messages are told.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { inspect } from 'node:util';

import { queryOf, tellsResults, withQuery } from '../src/call-options.js';
import { VoxgenderClient } from '../src/voxgender-client.js';
import { FakeAudioContext, FakeMicrophones, FakePeerConnection, FakeServer, FakeWebSocket, runTasks } from './fakes.js';

const ALL = { name: 'studio', reference: 'show 7', tags: ['pilot', 'team a'], hopMs: 384, messages: ['change'] };
const ASKED = { name: 'studio', reference: 'show 7', tags: 'pilot,team a', hop_ms: '384', messages: 'change' };

let server, client;

beforeEach(() => {
  server = new FakeServer().install();
  new FakeMicrophones().install();
});

afterEach(async () => {
  mock.timers.reset();
  await client?.stop();
  client = null;
  assert.equal(FakePeerConnection.open.size, 0, 'a peer connection was left open');
  assert.equal(server.sessions.size, 0, 'a session was left on the server');
});

async function after(...waitsMs) {
  for (const ms of waitsMs) {
    mock.timers.tick(ms);
    await runTasks();
  }
}

async function start(options) {
  client = new VoxgenderClient('http://server.test/whip', options);
  await client.start();
  return FakePeerConnection.all[0];
}

test('options stand in a query, and those that are not given are not asked for', () => {
  assert.deepEqual(queryOf(ALL), ASKED);
  assert.deepEqual(queryOf({}), {});
  assert.deepEqual(queryOf({ tags: [], messages: [] }), {});
});

for (const [options, sentence] of [
  [{ tags: ['a,b'] }, /^The option tags has a comma in an entry: make it two entries/],
  [{ tags: ['pilot', ''] }, /^The option tags is a list of texts, and none may be empty/],
  [{ tags: [7] }, /^The option tags is a list of texts/],
  [{ tags: 'pilot' }, /^The option tags is a list: write tags: \['…'\]/],
  [{ messages: 'change' }, /^The option messages is a list/],
  [{ messages: ['change,segment'] }, /^The option messages has a comma/],
  [{ hopMs: 0 }, /^The option hopMs is a number of milliseconds above 0/],
  [{ hopMs: NaN }, /^The option hopMs/],
  [{ hopMs: -192 }, /^The option hopMs/],
  [{ hopMs: Infinity }, /^The option hopMs/],
  [{ hopMs: '384' }, /^The option hopMs/],
  [{ name: 0 }, /^The option name is a text/],
  [{ reference: ['show 7'] }, /^The option reference is a text/],
]) {
  test(`${inspect(options)} is refused in one sentence: it was another option, none, or a TypeError`, () => {
    const refusal = { name: 'VoxgenderError', code: 'option_refused', message: sentence };
    assert.throws(() => new VoxgenderClient('/whip', options), refusal);
  });
}

test('null is as good as left out', () => {
  assert.deepEqual(queryOf({ name: null, reference: null, tags: null, hopMs: null, messages: null }), {});
});

test('an endpoint keeps its own query, and its shape where there is nothing to add', () => {
  assert.equal(withQuery('/whip', {}), '/whip');
  const url = withQuery('https://a.example/v/whip?name=a&x=1', queryOf({ name: 'b', tags: ['ä&=', 'c'] }));
  assert.equal(url.pathname, '/v/whip');
  assert.deepEqual(Object.fromEntries(url.searchParams), { name: 'b', x: '1', tags: 'ä&=,c' });
});

test('a call by WebRTC asks for its options', async () => {
  await start(ALL);
  const { url } = server.requests.find(({ method }) => method === 'POST');
  assert.deepEqual(Object.fromEntries(new URL(url).searchParams), ASKED);
});

test('a call that falls back to a WebSocket asks for the same', async () => {
  FakeAudioContext.install();
  FakeWebSocket.install();
  try {
    await start({ ...ALL, transport: 'websocket' });
    const { url } = server.requests.find((request) => new URL(request.url).pathname === '/listen');
    const asked = Object.fromEntries(new URL(url).searchParams);
    for (const [option, value] of Object.entries(ASKED)) assert.equal(asked[option], value);
    await client.stop();
  } finally {
    FakeAudioContext.uninstall();
    FakeWebSocket.uninstall();
  }
});

test('an option that the server refuses ends the start with its sentence', async () => {
  const body = JSON.stringify({ code: 'option_refused', detail: 'hop_ms takes 192, 384.' });
  server.answers = [{ status: 400, body }];
  client = new VoxgenderClient('http://server.test/whip', { hopMs: 200 });
  await assert.rejects(client.start(), { code: 'option_refused', message: 'hop_ms takes 192, 384.' });
});

test('a call whose hops are long is not taken for one of which nothing is heard', async () => {
  server.hello = { session: 's', hop_ms: 1_920 };
  mock.timers.enable({ apis: ['setTimeout'] });
  const connection = await start({ hopMs: 1_920 });
  await after(5_700);
  assert.equal(server.count('GET'), 0);
  connection.receive('results', { type: 'result', seq: 1, end: 1.92, label: 'male', confidence: 1 });
  await after(5_760, 300);
  assert.equal(server.count('GET'), 1, 'three hops without one are too many');
  assert.equal(server.count('POST'), 2);
});

test('a call that tells no results is not called again for having none', async () => {
  server.hello = { session: 's', hop_ms: 192, messages: ['change', 'summary'] };
  mock.timers.enable({ apis: ['setTimeout'] });
  await start({ messages: ['change'] });
  await after(1_500, 300, 20_000, 300);
  assert.equal(server.count('GET'), 0);
  assert.equal(server.count('POST'), 1);
});

test('a call that tells no results takes over a moment after it is greeted', async () => {
  server.hello = { session: 's', hop_ms: 192, messages: ['change', 'summary'] };
  mock.timers.enable({ apis: ['setTimeout'] });
  const old = await start({ messages: ['change'] });
  const changes = [];
  client.addEventListener('change', ({ detail }) => changes.push([detail.from, detail.to]));
  old.receive('events', { type: 'change', from: 'no_speech', to: 'male', at: 1 });
  old.receive('events', { type: 'warning', code: 'draining', message: 'Go elsewhere.' });
  await runTasks();
  const fresh = FakePeerConnection.all[1];
  fresh.receive('events', { type: 'change', from: 'no_speech', to: 'male', at: 0.1 });
  await after(1_400);
  assert.equal(server.count('DELETE'), 0);
  await after(100);
  assert.equal(server.count('DELETE'), 1);
  fresh.receive('events', { type: 'change', from: 'male', to: 'female', at: 3 });
  assert.deepEqual(changes, [
    ['no_speech', 'male'],
    ['male', 'female'],
  ]);
});

const WITHOUT_RESULTS = { session: 's', hop_ms: 192, messages: ['change', 'summary'] };

/** Have a call that tells no results taken over by another one; `during` is what both tell meanwhile. */
async function moved(during) {
  server.hello = WITHOUT_RESULTS;
  const started = performance.now();
  let nowMs = started;
  mock.method(performance, 'now', () => nowMs);
  mock.timers.enable({ apis: ['setTimeout'] });
  const old = await start({ messages: ['change'] });
  const [changes, sessions] = [[], []];
  client.addEventListener('change', ({ detail }) => changes.push([detail.from, detail.to]));
  client.addEventListener('session', ({ detail }) => sessions.push(detail.resumedAt));
  const change = (connection) => (from, to, at) => {
    nowMs += 1;
    connection.receive('events', { type: 'change', from, to, at });
  };
  change(old)('no_speech', 'female', 1);
  server.summary = { duration: 10, speech: 8, male: 2, female: 6, uncertain: 0, segments: 2 };
  old.receive('events', { type: 'warning', code: 'draining', message: 'Go elsewhere.' });
  await runTasks();
  const fresh = FakePeerConnection.all[1];
  nowMs = started + 1_000;
  during(change(old), change(fresh));
  nowMs = started + 2_000;
  await after(1_500);
  mock.restoreAll();
  return { fresh, tell: change(fresh), changes, sessions };
}

test('a change while another call takes over is told once: female, male and female again were told', async () => {
  const { changes } = await moved((old, fresh) => {
    fresh('no_speech', 'female', 0.1);
    old('female', 'male', 9);
    fresh('female', 'male', 1);
  });
  assert.deepEqual(changes, [
    ['no_speech', 'female'],
    ['female', 'male'],
  ]);
});

test('a change that the old call has told and the new one is about to tell is told once', async () => {
  const { changes, tell } = await moved((old, fresh) => {
    fresh('no_speech', 'female', 0.1);
    old('female', 'male', 9);
  });
  tell('female', 'male', 1);
  tell('male', 'female', 5);
  assert.deepEqual(changes, [
    ['no_speech', 'female'],
    ['female', 'male'],
    ['male', 'female'],
  ]);
});

test('a change that the new call alone has told is told, from the voice before it', async () => {
  const { changes } = await moved((_, fresh) => {
    fresh('no_speech', 'child', 0.1);
    fresh('child', 'female', 0.4);
    fresh('female', 'male', 1);
  });
  assert.deepEqual(changes.slice(1), [['female', 'male']]);
});

test('seconds that two calls without results have heard count once', async () => {
  const { sessions } = await moved((_, fresh) => fresh('no_speech', 'female', 0.5));
  const [resumedAt] = sessions;
  assert.ok(Math.abs(resumedAt - 2) < 0.1);
  server.summary = { duration: 20, speech: 15, male: 5, female: 10, uncertain: 0, segments: 1 };
  const { duration, speech, female, male, segments } = await client.stop();
  const figures = [duration, speech, female, male].map((seconds) => Math.round(seconds * 2) / 2);
  assert.deepEqual([...figures, segments], [28, 21.5, 14.5, 7, 2]);
});

test('all messages are told where hello names none', () => {
  assert.equal(tellsResults({}), true);
  assert.equal(tellsResults({ messages: ['result', 'summary'] }), true);
  assert.equal(tellsResults({ messages: ['summary'] }), false);
});
