import assert from 'node:assert/strict';
import { test } from 'node:test';

import { VoxgenderError } from '../src/errors.js';
import { exponentialBackoff } from '../src/reconnect-policy.js';

const longest = exponentialBackoff({ random: () => 1 });
const shortest = exponentialBackoff({ random: () => 0 });
const lost = new VoxgenderError('lost', '', { heals: true });
const refused = new VoxgenderError('http_502', '', { heals: true });
const busy = (retryAfterMs) => new VoxgenderError('busy', '', { heals: true, retryAfterMs });

test('waits double with each failure', () => {
  assert.deepEqual(
    [0, 1, 2, 3].map((failures) => longest({ failures, error: refused })),
    [500, 1000, 2000, 4000],
  );
});

test('waits never exceed ten seconds', () => {
  assert.equal(longest({ failures: 60, error: refused }), 10_000);
  assert.equal(longest({ failures: 60, error: lost }), 10_000);
});

test('a server that does not answer is asked again within a second for a while, and more rarely then', () => {
  // A server that had been started again within 3 s was called after 7.5 s: the next try was so far away.
  assert.deepEqual(
    [0, 1, 2, 19, 20, 21, 22, 23].map((failures) => longest({ failures, error: lost })),
    [500, 1000, 1000, 1000, 2000, 4000, 8000, 10_000],
  );
});

test('half of each wait is chance, so that callers do not come back in step', () => {
  assert.equal(shortest({ failures: 3, error: refused }), 2000);
});

test('a Retry-After is never undercut, and spread too', () => {
  assert.equal(shortest({ failures: 0, error: busy(4000) }), 4000);
  assert.equal(longest({ failures: 0, error: busy(4000) }), 6000);
});

test('a server that asks for a short wait is not waited for longer, however often it asked', () => {
  assert.equal(shortest({ failures: 9, error: busy(1000) }), 1000);
});

test('a Retry-After of nothing is no leave to hammer', () => {
  assert.equal(shortest({ failures: 0, error: busy(0) }), 500);
});

test('an error that waiting does not heal is final', () => {
  assert.equal(longest({ failures: 0, error: new VoxgenderError('denied', '') }), null);
});
