import assert from 'node:assert/strict';
import { test } from 'node:test';

import { backoff_ms } from '../backoff.js';

const longest = { random: () => 1 };
const shortest = { random: () => 0 };

test('waits double with each failure', () => {
  assert.deepEqual([0, 1, 2, 3].map((failures) => backoff_ms(failures, longest)), [500, 1000, 2000, 4000]);
});

test('waits never exceed fifteen seconds', () => {
  assert.equal(backoff_ms(60, longest), 15_000);
});

test('half of each wait is chance, so that callers do not come back in step', () => {
  assert.equal(backoff_ms(3, shortest), 2000);
});

test('a Retry-After is never undercut, and spread too', () => {
  assert.equal(backoff_ms(0, { retryAfter_ms: 5000, ...shortest }), 5000);
  assert.equal(backoff_ms(0, { retryAfter_ms: 5000, ...longest }), 5500);
});

test('a Retry-After of nothing does not undo the growing wait', () => {
  assert.ok(backoff_ms(5, { retryAfter_ms: 0, ...shortest }) >= 7500);
});
