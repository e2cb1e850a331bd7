// Several voices by one connection, each told by its name.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { VoxgenderClient } from '../src/voxgender-client.js';
import { FakeMicrophones, FakePeerConnection, FakeServer, FakeTrack, runTasks } from './fakes.js';

let server, client, told, alice, bob;

beforeEach(() => {
  server = new FakeServer().install();
  new FakeMicrophones().install();
  client = new VoxgenderClient('http://server.test/whip', { reconnectPolicy: () => null });
  told = [];
  for (const type of ['result', 'change', 'warning', 'track']) {
    client.addEventListener(type, ({ detail, name }) => told.push([type, name, detail.mark]));
  }
  [alice, bob] = [new FakeTrack(), new FakeTrack()];
});

afterEach(async () => {
  await client.stop();
  for (const track of [...FakeTrack.live]) track.stop();
  assert.equal(FakePeerConnection.open.size, 0, 'a peer connection was left open');
  assert.equal(server.sessions.size, 0, 'a session was left on the server');
});

let seq = 0;
function say(connection, name, label, end, mark) {
  const channel = connection.voices.findIndex((voice) => voice.name === name);
  seq += 1;
  connection.receive('results', {
    type: 'result',
    channel,
    name,
    seq,
    start: end - 0.2,
    end,
    label,
    confidence: 1,
    mark,
  });
}

function sumUp(connection, name, male = 1) {
  const summary = { duration: 2, speech: male, male, female: 0, uncertain: 0, segments: 1 };
  connection.receive('events', { type: 'summary', channel: 0, name, ...summary });
}

test('each track has a line of its own with its name, and each event the name of its voice', async () => {
  await client.start({ alice, 'Bob Smith': bob });
  const [connection] = FakePeerConnection.all;
  assert.deepEqual(
    connection.lines.map(({ track }) => track),
    [alice, bob],
  );
  assert.equal(
    server.requests[0].body,
    'm=audio\r\ni=alice\r\na=mid:0\r\na=sendonly\r\nm=audio\r\ni=Bob Smith\r\na=mid:1\r\na=sendonly\r\n',
  );
  say(connection, 'alice', 'female', 0.2, 'a');
  say(connection, 'Bob Smith', 'male', 0.2, 'b');
  assert.deepEqual(told, [
    ['track', 'alice', undefined],
    ['track', 'Bob Smith', undefined],
    ['result', 'alice', 'a'],
    ['result', 'Bob Smith', 'b'],
  ]);
  assert.equal(client.track, null);
  assert.deepEqual([...client.tracks.keys()], ['alice', 'Bob Smith']);
});

test('the sums of each voice are told apart, and added up', async () => {
  await client.start({ alice, bob });
  const [connection] = FakePeerConnection.all;
  for (const end of [0.2, 0.4]) say(connection, 'alice', 'female', end);
  say(connection, 'bob', 'male', 7.2);
  const sums = Object.fromEntries([...client.totals].map(([name, { female, male }]) => [name, [female, male]]));
  assert.deepEqual(sums.alice, [0.4, 0]);
  assert.ok(Math.abs(sums.bob[1] - 0.2) < 1e-9, 'a voice that joins later has not spoken since the beginning');
  assert.ok(Math.abs(client.total.speech - 0.6) < 1e-9);
});

test('a voice is added in mid-call, and another removed', async () => {
  await client.start({ alice, bob });
  const [connection] = FakePeerConnection.all;
  const carol = new FakeTrack();
  await client.add('carol', carol);
  assert.equal(server.count('POST'), 1);
  assert.deepEqual(
    connection.voices.map(({ name }) => name),
    ['alice', 'bob', 'carol'],
  );
  const removed = client.remove('bob');
  await runTasks();
  assert.deepEqual(
    connection.voices.map(({ name }) => name),
    ['alice', 'carol'],
  );
  assert.equal(connection.lines[1].track, null);
  assert.equal(connection.lines[1].direction, 'inactive');
  sumUp(connection, 'bob', 1.5);
  assert.equal((await removed).male, 1.5);
  assert.equal(bob.readyState, 'live', 'the track is the caller’s');
  assert.equal(client.totals.get('bob').male, 1.5);
});

test('a voice that comes back goes on with its sums', async () => {
  await client.start({ alice, bob });
  const [connection] = FakePeerConnection.all;
  const removed = client.remove('bob');
  await runTasks();
  sumUp(connection, 'bob', 1);
  await removed;
  await client.add('bob', bob);
  say(connection, 'bob', 'male', 9.2);
  assert.ok(Math.abs(client.totals.get('bob').male - 1.2) < 1e-9);
});

test('a name that is there gets another track, with no negotiation', async () => {
  await client.start({ alice, bob });
  const other = new FakeTrack();
  await client.add('bob', other);
  assert.equal(server.count('PATCH'), 0);
  assert.equal(FakePeerConnection.all[0].lines[1].track, other);
});

test('a voice for which the server has no place is refused, and the others go on', async () => {
  await client.start({ alice, bob });
  server.update = { status: 503, body: '{"code": "at_capacity", "detail": "The server is full."}' };
  await assert.rejects(client.add('carol', new FakeTrack()), { code: 'at_capacity' });
  assert.deepEqual([...client.tracks.keys()], ['alice', 'bob']);
  assert.equal(client.state, 'live');
  server.update = { status: 200 };
  await client.add('dave', new FakeTrack());
  const [connection] = FakePeerConnection.all;
  assert.equal(connection.lines.length, 3, 'the line of the refused voice is used by the next one');
});

test('a later offer without an answer is made again, the same', async () => {
  await client.start({ alice });
  server.update = { status: 200, isLost: true };
  const added = client.add('bob', bob);
  while (server.count('PATCH') < 1) await new Promise(setImmediate);
  server.update = { status: 200 };
  await added;
  const [first, second] = server.requests.filter(({ method }) => method === 'PATCH');
  assert.equal(first.body, second.body);
  assert.equal(server.count('PATCH'), 2);
});

for (const lost of [
  { status: 200, isLost: true },
  { status: 502 },
  { status: 503, body: '{"code": "node_unreachable"}' },
]) {
  test(`a voice does not stay on the server for an answer that is lost: ${JSON.stringify(lost)}`, async () => {
    await client.start({ alice });
    const [connection] = FakePeerConnection.all;
    server.update = lost;
    if (lost.status !== 200) connection.voices.push({ name: 'bob' });
    await assert.rejects(client.add('bob', bob));
    assert.equal(server.count('PATCH'), 3, 'it was asked three more times, for 16 s where it did not answer at all');
    assert.equal(connection.voices.length, 2);
    server.update = { status: 200 };
    const before = server.count('PATCH');
    while (server.count('PATCH') === before) await new Promise((resolve) => setTimeout(resolve, 50));
    await runTasks();
    assert.deepEqual(
      connection.voices.map(({ name }) => name),
      ['alice'],
    );
    // Its line may still be another voice’s to the server, so it is used again only now.
    await client.add('carol', new FakeTrack());
    assert.equal(connection.lines.length, 2);
  });
}

test('a 408 leaves open whether the offer was taken: it counted as a refusal, and the voice stayed on the server', async () => {
  await client.start({ alice });
  server.update = { status: 408 };
  await assert.rejects(client.add('bob', bob), { status: 408 });
  assert.equal(server.count('PATCH'), 3);
  server.update = { status: 200 };
  while (server.count('PATCH') === 3) await new Promise((resolve) => setTimeout(resolve, 50));
});

test('sound waits for no answer: a voice that had left was sent, and a track that was replaced, while a PATCH hung', async () => {
  await client.start({ alice, bob });
  const [connection] = FakePeerConnection.all;
  let answer;
  server.update = { status: 200, until: new Promise((resolve) => (answer = resolve)) };
  const added = client.add('carol', new FakeTrack());
  while (!server.count('PATCH')) await new Promise(setImmediate);
  const removed = client.remove('bob');
  const other = new FakeTrack();
  const replaced = client.add('alice', other);
  assert.deepEqual(
    connection.lines.slice(0, 2).map(({ track }) => track),
    [other, null],
  );
  answer();
  await Promise.all([added, replaced]);
  await runTasks();
  sumUp(connection, 'bob');
  await removed;
  assert.deepEqual(
    connection.voices.map(({ name }) => name),
    ['alice', 'carol'],
  );
});

test('a voice that leaves while the call is being placed is not sent for a moment once it is there', async () => {
  let answer;
  server.answers = [() => new Promise((resolve) => (answer = resolve))];
  const live = client.start({ alice, bob });
  while (!answer) await new Promise(setImmediate);
  const other = new FakeTrack();
  const replaced = client.add('alice', other);
  const removed = client.remove('bob');
  assert.deepEqual(
    FakePeerConnection.all[0].lines.map(({ track }) => track),
    [other, null],
  );
  answer({ status: 201 });
  await Promise.all([live, replaced, removed]);
  await runTasks();
  assert.deepEqual(
    FakePeerConnection.all[0].voices.map(({ name }) => name),
    ['alice'],
  );
});

test('a voice that leaves before its turn to be offered comes is never sent', async () => {
  await client.start({ alice });
  let answer;
  server.update = { status: 200, until: new Promise((resolve) => (answer = resolve)) };
  const added = [client.add('bob', bob), client.add('carol', new FakeTrack())];
  while (!server.count('PATCH')) await new Promise(setImmediate);
  const removed = client.remove('carol');
  answer();
  await Promise.all([...added, removed]);
  assert.ok(server.requests.every(({ body }) => !body?.includes('i=carol')));
});

test('a voice that is refused is not offered again with the next one, which was refused with it', async () => {
  await client.start({ alice });
  const body = '{"code": "at_capacity", "detail": "The server is full."}';
  let answer;
  server.update = { status: 503, body, until: new Promise((resolve) => (answer = resolve)) };
  const refused = assert.rejects(client.add('bob', bob), { code: 'at_capacity' });
  while (!server.count('PATCH')) await new Promise(setImmediate);
  server.update = { status: 200 };
  const added = client.add('carol', new FakeTrack());
  answer();
  await Promise.all([refused, added]);
  assert.deepEqual(
    FakePeerConnection.all[0].voices.map(({ name }) => name),
    ['alice', 'carol'],
  );
});

for (const comesBack of [false, true]) {
  test(`a voice that ${comesBack ? 'comes back' : 'joins later'} is counted by hops of two seconds, half of which were lost`, async () => {
    server.hello = { session: 's', hop_ms: 1_920 };
    await client.start(comesBack ? { alice, bob } : { alice });
    const [connection] = FakePeerConnection.all;
    if (comesBack) {
      const removed = client.remove('bob');
      await runTasks();
      sumUp(connection, 'bob', 0);
      await removed;
    }
    await client.add('bob', bob);
    for (const end of [19.2, 21.12, 23.04]) say(connection, 'bob', 'male', end);
    assert.equal(client.totals.get('bob').male.toFixed(2), '4.04', 'the first hop is 0.2 s here');
  });
}

test('a voice that leaves is taken off the server even where that is refused for another one that comes', async () => {
  await client.start({ alice, bob });
  server.update = { status: 503, body: '{"code": "at_capacity", "detail": "The server is full."}' };
  const added = assert.rejects(client.add('carol', new FakeTrack()), { code: 'at_capacity' });
  const removed = client.remove('bob');
  await added;
  server.update = { status: 200 };
  const [connection] = FakePeerConnection.all;
  while (connection.voices.some(({ name }) => name === 'bob')) await new Promise((resolve) => setTimeout(resolve, 50));
  await removed;
});

test('voices that come and go at the same time are negotiated one after the other', async () => {
  await client.start({ alice, bob });
  const removed = client.remove('alice');
  await Promise.all([client.add('carol', new FakeTrack()), client.add('dave', new FakeTrack()), runTasks()]);
  const [connection] = FakePeerConnection.all;
  sumUp(connection, 'alice');
  await removed;
  assert.deepEqual(connection.voices.map(({ name }) => name).sort(), ['bob', 'carol', 'dave']);
});

test('a track that ends is a voice that leaves, and with the last one the room is over', async () => {
  await client.start({ alice, bob });
  alice.unplug();
  await runTasks();
  assert.deepEqual([...client.tracks.keys()], ['bob']);
  assert.equal(client.state, 'live');
  bob.unplug();
  await runTasks();
  assert.equal(client.state, 'stopped');
});

test('a server that asks its callers to go elsewhere is left with all voices', async () => {
  await client.start({ alice, bob });
  const [old] = FakePeerConnection.all;
  const resumed = [];
  client.addEventListener('session', ({ detail }) => resumed.push(detail.resumedAt));
  say(old, 'alice', 'female', 0.2, 'old alice');
  say(old, 'bob', 'male', 0.2, 'old bob');
  old.receive('events', { type: 'warning', code: 'draining', message: 'Go elsewhere.' });
  await runTasks();
  const fresh = FakePeerConnection.all[1];
  assert.deepEqual(
    fresh.lines.map(({ track }) => track),
    [alice, bob],
  );
  say(fresh, 'alice', 'female', 0.2, 'held back');
  await runTasks();
  assert.equal(old.connectionState, 'new', 'the voices move together');
  say(fresh, 'bob', 'male', 0.2, 'fresh bob');
  await runTasks();
  assert.equal(old.connectionState, 'closed');
  say(fresh, 'alice', 'female', 0.4, 'fresh alice');
  assert.deepEqual(resumed.length, 1);
  assert.ok(told.some(([, name, mark]) => name === 'alice' && mark === 'fresh alice'));
});

test('a server that hears the first line alone is told of in one sentence', async () => {
  server.takesRooms = false;
  await assert.rejects(client.start({ alice, bob }), { code: 'one_voice' });
});

test('by a WebSocket a room is refused in one sentence', async () => {
  client = new VoxgenderClient('http://server.test/whip', { transport: 'websocket' });
  await assert.rejects(client.start({ alice, bob }), { code: 'one_voice' });
});

for (const name of ['', ' alice', 'a\nb', 'x'.repeat(65), '\ud800']) {
  test(`${JSON.stringify(name)} is no name`, async () => {
    await assert.rejects(client.start({ [name]: alice }), { code: 'bad_name' });
  });
}

test('a room of nobody is refused', async () => {
  await assert.rejects(client.start({}), { code: 'no_audio' });
});

test('there is nothing to add to where no room is running', async () => {
  await assert.rejects(client.add('alice', alice), { code: 'not_started' });
  await client.start(bob);
  await assert.rejects(client.add('alice', alice), { code: 'not_started' });
  await assert.rejects(client.remove('alice'), { code: 'not_started' });
});

test('a voice that comes at once after the start is one of the room', async () => {
  const live = client.start({ alice });
  await client.add('bob', bob);
  await live;
  assert.deepEqual([...client.tracks.keys()].sort(), ['alice', 'bob']);
  assert.deepEqual(FakePeerConnection.all[0].voices.map(({ name }) => name).sort(), ['alice', 'bob']);
});

test('a ninth voice is refused, and the others go on', async () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
  await client.start(Object.fromEntries(names.map((name) => [name, new FakeTrack()])));
  await assert.rejects(client.add('i', new FakeTrack()), { code: 'too_many_voices' });
  assert.equal(client.state, 'live');
  assert.equal(server.count('PATCH'), 0);
});

test('a voice that leaves while another one is told of is not sent any more', async () => {
  const live = client.start({ alice, zoe: new FakeTrack() });
  await new Promise(setImmediate);
  const added = client.add('bob', bob);
  client.remove('alice');
  await Promise.all([live, added]);
  await runTasks();
  const [connection] = FakePeerConnection.all;
  assert.deepEqual(connection.voices.map(({ name }) => name).sort(), ['bob', 'zoe']);
  assert.ok(!connection.lines.some(({ track }) => track === alice));
});
