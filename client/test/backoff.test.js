import assert from 'node:assert/strict';
import { test } from 'node:test';

import { backoff_ms } from '../backoff.js';

const longest = { random: () => 1 };
const shortest = { random: () => 0 };

test('waits double with each failure', () => {
  assert.deepEqual([0, 1, 2, 3].map((failures) => backoff_ms(failures, longest)), [500, 1000, 2000, 4000]);
});

test('waits never exceed ten seconds', () => {
  assert.equal(backoff_ms(60, longest), 10_000);
});

test('half of each wait is chance, so that callers do not come back in step', () => {
  assert.equal(backoff_ms(3, shortest), 2000);
});

test('a Retry-After is never undercut, and spread too', () => {
  assert.equal(backoff_ms(0, { retryAfter_ms: 4000, ...shortest }), 4000);
  assert.equal(backoff_ms(0, { retryAfter_ms: 4000, ...longest }), 6000);
});

test('a server that asks for a short wait is not waited for longer, however often it asked', () => {
  assert.equal(backoff_ms(9, { retryAfter_ms: 1000, ...shortest }), 1000);
});

test('a Retry-After of nothing is no leave to hammer', () => {
  assert.equal(backoff_ms(0, { retryAfter_ms: 0, ...shortest }), 500);
});
