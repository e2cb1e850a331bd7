import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Stretches } from '../site/stretches.js';

test('results with one label are one stretch with their mean confidence', () => {
  const stretches = new Stretches();
  stretches.add(0.2, 'female', 0.6);
  const { stretch, isNew } = stretches.add(0.4, 'female', 0.8);
  assert.equal(isNew, false);
  assert.equal(stretch.end, 0.4);
  assert.ok(Math.abs(stretch.confidence - 0.7) < 1e-9);
});

test('another label starts a stretch where the last one ended', () => {
  const stretches = new Stretches();
  stretches.add(0.2, 'female', 0.6);
  const { stretch, isNew } = stretches.add(0.4, 'male', 0.9);
  assert.equal(isNew, true);
  assert.equal(stretch.start, 0.2);
});

test('a long call does not grow without bound', () => {
  const stretches = new Stretches();
  for (let i = 0; i < 1000; i += 1) stretches.add(i, i % 2 ? 'male' : 'female', 1);
  assert.equal(stretches.all.length, 200);
  assert.equal(stretches.all.at(-1)?.end, 999);
});
