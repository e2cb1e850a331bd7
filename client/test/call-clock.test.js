import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { CallClock } from '../site/call-clock.js';

let nowMs, clock;

beforeEach(() => {
  nowMs = 5_000;
  clock = new CallClock(() => nowMs);
});

const after = (seconds) => void (nowMs = 5_000 + 1_000 * seconds);

test('it stands still until the call is live', () => {
  after(3);
  assert.equal(clock.seconds, 0);
  clock.start();
  after(5);
  assert.equal(clock.seconds, 2);
});

test('a call that is live again goes on from where it was', () => {
  clock.start();
  after(4);
  clock.start();
  assert.equal(clock.seconds, 4);
});

test('the quickest result tells when its audio was', () => {
  clock.start();
  for (const [at, end] of [
    [1.5, 1.0],
    [2.1, 2.0],
    [3.9, 3.0],
  ]) {
    after(at);
    clock.observe(end);
  }
  assert.ok(Math.abs(clock.place(3.0) - 3.1) < 1e-9);
});

test('a session after a loss counts from nothing and is put where it belongs', () => {
  clock.start();
  after(1);
  clock.observe(1);
  clock.startSession();
  after(20);
  clock.observe(0.5);
  assert.equal(clock.place(0.5), 20);
});

test('another call starts at nothing', () => {
  clock.start();
  after(9);
  clock.reset();
  assert.equal(clock.seconds, 0);
});
