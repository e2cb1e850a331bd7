import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { tap } from '../src/tap.js';
import { FakeTrack } from './fakes.js';

beforeEach(() => mock.timers.enable({ apis: ['setInterval'] }));
afterEach(() => mock.timers.reset());

test('what the call mutes is muted in the tap, and back', () => {
  const original = new FakeTrack();
  const voice = tap(original);
  original.enabled = false;
  mock.timers.tick(50);
  assert.equal(voice.track.enabled, false);
  original.enabled = true;
  mock.timers.tick(50);
  assert.equal(voice.track.enabled, true);
  voice.stop();
});

test('a tap of a muted track is silent from its first moment', () => {
  const original = Object.assign(new FakeTrack(), { enabled: false });
  const voice = tap(original);
  assert.equal(voice.track.enabled, false);
  voice.stop();
});

test('sync mirrors at once', () => {
  const original = new FakeTrack();
  const voice = tap(original);
  original.enabled = false;
  voice.sync();
  assert.equal(voice.track.enabled, false);
  voice.stop();
});

test('the mute of a sender counts, and a sender with no track is muted', () => {
  const sender = { track: new FakeTrack() };
  const voice = tap(new FakeTrack(), { mirrorMuteOf: sender });
  assert.equal(voice.track.enabled, true);
  sender.track = null;
  voice.sync();
  assert.equal(voice.track.enabled, false);
  voice.stop();
});

test('the tap ends with the call’s track, though stopping one fires no event', () => {
  const original = new FakeTrack();
  const voice = tap(original);
  let ended = 0;
  voice.track.addEventListener('ended', () => (ended += 1));
  original.stop();
  mock.timers.tick(50);
  assert.equal(voice.track.readyState, 'ended');
  assert.equal(ended, 1);
});

test('stopping the tap leaves the call’s track alone', () => {
  const original = new FakeTrack();
  const voice = tap(original);
  voice.track.enabled = false;
  voice.stop();
  voice.stop();
  assert.equal(original.readyState, 'live');
  assert.equal(original.enabled, true);
});

const passLook = () => mock.timers.tick(50);

test('a tap of a function follows whatever track the call has at the moment', () => {
  const first = new FakeTrack();
  let current = first;
  const voice = tap(() => current);
  const clone = voice.track;
  let changes = 0;
  voice.addEventListener('track', () => (changes += 1));
  passLook();
  assert.equal(voice.track, clone, 'the same track is cloned once');
  current = new FakeTrack();
  passLook();
  assert.notEqual(voice.track, clone);
  assert.equal(clone.readyState, 'ended', 'a clone that is left alone holds the microphone');
  assert.equal(first.readyState, 'live');
  assert.equal(changes, 1);
  voice.stop();
});

test('a call that stops its track before it has another one is waited for', () => {
  // LiveKit's restartTrack and stopOnMute, Twilio's restart, Agora's setEnabled: the tap, and the client, ended.
  let current = new FakeTrack();
  const voice = tap(() => current);
  const clone = voice.track;
  current.stop();
  passLook();
  assert.equal(voice.track, null);
  assert.equal(clone.readyState, 'ended', 'the light of the microphone goes out with the call’s own');
  assert.equal(voice.over, false);
  current = new FakeTrack();
  passLook();
  assert.equal(voice.track.readyState, 'live');
  voice.stop();
  assert.equal(voice.over, true);
});

test('a track that moves mute to another one is heard only while neither is muted', () => {
  // Jitsi's effects: the raw track stays enabled, and the tap went on hearing a muted user.
  const raw = new FakeTrack();
  const processed = new FakeTrack();
  let current = raw;
  let muted = false;
  const voice = tap(() => current, { muted: () => muted });
  current = processed;
  processed.enabled = false;
  passLook();
  assert.equal(voice.track.enabled, false);
  processed.enabled = true;
  muted = true;
  passLook();
  assert.equal(voice.track.enabled, false);
  muted = false;
  passLook();
  assert.equal(voice.track.enabled, true);
  voice.stop();
});

test('a track that takes over from a muted one is silent before anybody is told of it', () => {
  let current = new FakeTrack();
  const voice = tap(() => current, { muted: () => true });
  let heard = null;
  voice.addEventListener('track', () => (heard = voice.track.enabled));
  current = new FakeTrack();
  passLook();
  assert.equal(heard, false);
  voice.stop();
});

test('a call that cannot be asked counts as muted', () => {
  const gone = () => {
    throw new TypeError('the room was left');
  };
  const muteless = tap(() => track, { muted: gone });
  const track = new FakeTrack();
  passLook();
  assert.equal(muteless.track.enabled, false);
  const trackless = tap(gone);
  assert.equal(trackless.track, null);
  muteless.stop();
  trackless.stop();
});

test('a clone that ended alone, as its device hung, is made again', () => {
  const original = new FakeTrack();
  const voice = tap(() => original);
  voice.track.stop();
  passLook();
  assert.equal(voice.track.readyState, 'live');
  voice.stop();
});

test('muted may be told beside a given track too', () => {
  let muted = true;
  const voice = tap(new FakeTrack(), { muted: () => muted });
  assert.equal(voice.track.enabled, false);
  muted = false;
  passLook();
  assert.equal(voice.track.enabled, true);
  voice.stop();
});
