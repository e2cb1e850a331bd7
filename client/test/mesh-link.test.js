// The connection of a call with one other member, on a peer connection that is made up: a browser refuses connections, and
// leaves the promises of closed ones pending, only now and then.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { runTasks } from './fakes.js';
import { MeshLink } from '../site/mesh-link.js';

/** A time after which a connection that has not come up is given up, and made anew. */
const LONG_MS = 15_000;
const PENDING = new Promise(() => {});
const globals = { RTCPeerConnection: globalThis.RTCPeerConnection, MediaStream: globalThis.MediaStream };

/** A peer connection whose steps end at once, unless a test says otherwise. */
class FakeConnection {
  static steps = {};
  static refusals = 0;
  connectionState = 'new';
  localDescription = null;
  senders = [{ replaceTrack: () => this.step('replaceTrack') }];

  constructor() {
    if (FakeConnection.refusals-- > 0) throw new DOMException('Too many connections', 'UnknownError');
  }

  async step(name) {
    await FakeConnection.steps[name];
  }

  async setLocalDescription() {
    await this.step('setLocalDescription');
    this.localDescription = { toJSON: () => ({ type: 'offer', sdp: '' }) };
  }

  setRemoteDescription = () => this.step('setRemoteDescription');
  addIceCandidate = () => this.step('addIceCandidate');
  getSenders = () => this.senders;
  addTrack() {}
  createDataChannel = () => ({ readyState: 'connecting' });
  close() {}
}

let sent;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  mock.method(console, 'warn', () => {});
  globalThis.RTCPeerConnection = FakeConnection;
  globalThis.MediaStream = class {};
  FakeConnection.steps = {};
  FakeConnection.refusals = 0;
  sent = [];
});

afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
  Object.assign(globalThis, globals);
});

const link = ({ dials }) =>
  new MeshLink({ dials, track: {}, send: (signal) => sent.push(signal), onchange: () => {}, onnote: () => {} });

/** Lets all that was started run as far as it can without any time passing. */
/** Lets timers go off that the ones before have set, too. */
async function pass(ms) {
  for (let passed = 0; passed < ms; passed += 500) {
    mock.timers.tick(500);
    await runTasks();
  }
}

const offer = { type: 'description', connection: 'theirs', description: { type: 'offer', sdp: '' } };

test('a connection that the browser refuses is tried again', async () => {
  FakeConnection.refusals = 2;
  const dialling = link({ dials: true });
  await runTasks();
  assert.deepEqual(sent, []);
  await pass(LONG_MS);
  assert.equal(sent[0]?.type, 'description', 'no timer was armed before the connection was there');
  dialling.close();
});

test('an end that cannot take an offer asks for another one', async () => {
  FakeConnection.refusals = 1;
  const asked = link({ dials: false });
  asked.take(offer);
  await pass(LONG_MS);
  assert.equal(sent[0]?.type, 'again');
  asked.close();
});

test('a link that is closed after a refusal tries no more', async () => {
  FakeConnection.refusals = 1;
  const dialling = link({ dials: true });
  await runTasks();
  dialling.close();
  await pass(LONG_MS);
  assert.deepEqual(sent, []);
});

for (const step of ['setLocalDescription', 'setRemoteDescription', 'addIceCandidate']) {
  test(`a closed connection whose ${step} stays pending holds up no later one`, async () => {
    FakeConnection.steps[step] = PENDING;
    const asked = link({ dials: false });
    asked.take(offer);
    asked.take({ type: 'candidate', connection: 'theirs', candidate: {} });
    await pass(LONG_MS);
    FakeConnection.steps = {};
    sent.length = 0;
    asked.take({ ...offer, connection: 'another' });
    await runTasks();
    assert.deepEqual(
      sent.map(({ type, connection }) => [type, connection]),
      [['description', 'another']],
    );
    asked.close();
  });
}

test('another track is waited for no longer than its connection lasts', async () => {
  const asked = link({ dials: false });
  asked.take(offer);
  await runTasks();
  FakeConnection.steps['replaceTrack'] = PENDING;
  const replaced = asked.replaceTrack({});
  asked.close();
  await replaced;
});
