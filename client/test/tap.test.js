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
