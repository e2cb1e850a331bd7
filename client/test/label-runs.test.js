import assert from 'node:assert/strict';
import { test } from 'node:test';

import { LabelRuns } from '../site/label-runs.js';

test('results with one label are one run with their mean confidence', () => {
  const runs = new LabelRuns();
  runs.add(0.2, 'female', 0.6);
  const { run, isNew } = runs.add(0.4, 'female', 0.8);
  assert.equal(isNew, false);
  assert.equal(run.end, 0.4);
  assert.ok(Math.abs(run.confidence - 0.7) < 1e-9);
});

test('another label starts a run where the last one ended', () => {
  const runs = new LabelRuns();
  runs.add(0.2, 'female', 0.6);
  const { run, isNew } = runs.add(0.4, 'male', 0.9);
  assert.equal(isNew, true);
  assert.equal(run.start, 0.2);
});

test('a long call does not grow without bound', () => {
  const runs = new LabelRuns();
  for (let i = 0; i < 1000; i += 1) runs.add(i, i % 2 ? 'male' : 'female', 1);
  assert.equal(runs.all.length, 200);
  assert.equal(runs.all.at(-1)?.end, 999);
});
