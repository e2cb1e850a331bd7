import assert from 'node:assert/strict';
import { test } from 'node:test';

import { LabelRuns } from '../site/label-runs.js';
import { lineTexts } from '../site/text-stream.js';

const spans = (runs) => runs.all.map(({ label, start, end }) => [label, start, end]);

test('results with one label are one run with their mean confidence', () => {
  const runs = new LabelRuns();
  runs.add(0.2, 'female', 0.6);
  const run = runs.add(0.4, 'female', 0.8);
  assert.equal(runs.all.length, 1);
  assert.equal(run.end, 0.4);
  assert.ok(Math.abs(run.confidence - 0.7) < 1e-9);
});

test('another label starts a run where the last one ended', () => {
  const runs = new LabelRuns();
  runs.add(0.2, 'female', 0.6);
  const run = runs.add(0.4, 'male', 0.9);
  assert.equal(runs.all.length, 2);
  assert.equal(run.start, 0.2);
});

test('a long call does not grow without bound', () => {
  const runs = new LabelRuns();
  for (let i = 0; i < 20_000; i += 1) runs.add(i, i % 2 ? 'male' : 'female', 1);
  assert.equal(runs.all.length, 10_000);
  assert.equal(runs.all.at(-1)?.end, 19_999);
});

test('a segment takes the place of the results that it was made of', () => {
  const runs = new LabelRuns();
  for (const [end, label] of [
    [0.2, 'no_speech'],
    [0.4, 'uncertain'],
    [0.6, 'male'],
    [1.2, 'male'],
    [1.4, 'female'],
  ]) {
    runs.add(end, label, 0.8);
  }
  runs.settle({ start: 0.35, end: 1.3, label: 'male', confidence: 0.99 });
  assert.deepEqual(spans(runs), [
    ['no_speech', 0, 0.35],
    ['male', 0.35, 1.3],
    ['female', 1.3, 1.4],
  ]);
  assert.equal(runs.all[1]?.confidence, 0.99);
});

test('segments with a short pause between them are told without it', () => {
  const runs = new LabelRuns();
  runs.settle({ start: 0.1, end: 1, label: 'male', confidence: 1 });
  runs.settle({ start: 1.1, end: 2, label: 'female', confidence: 1 });
  assert.deepEqual(
    runs.all.map(({ label }) => label),
    ['male', 'female'],
  );
});

test('a result that comes after its segment changes nothing', () => {
  const runs = new LabelRuns();
  runs.settle({ start: 0, end: 2, label: 'male', confidence: 1 });
  runs.add(1.8, 'male', 0.5);
  assert.deepEqual(spans(runs), [['male', 0, 2]]);
});

test('numbers hold once the call is over', () => {
  const runs = new LabelRuns();
  runs.add(0.2, 'male', 0.8);
  runs.freeze();
  runs.add(0.4, 'male', 0.2);
  assert.equal(runs.all[0]?.confidence, 0.8);
  assert.equal(runs.all.length, 2);
});

test('silence and doubt have no percent', () => {
  const line = (label) => lineTexts({ label, start: 61, end: 62.5, confidence: 0.91 });
  assert.deepEqual(line('male'), { time: '1:01.0', label: 'Male', length: '1.5 s', confidence: '91 %' });
  assert.equal(line('no_speech').confidence, '');
  assert.equal(line('uncertain').confidence, '');
});

test('the label that results keep for a moment after a segment makes no line of its own', () => {
  const runs = new LabelRuns();
  runs.add(2, 'male', 1);
  runs.add(2.2, 'male', 1);
  runs.settle({ start: 0, end: 2, label: 'male', confidence: 1 });
  runs.add(2.4, 'male', 1);
  assert.deepEqual(spans(runs), [['male', 0, 2]]);
  runs.add(2.6, 'no_speech', 1);
  runs.add(3, 'male', 1);
  assert.deepEqual(
    runs.all.map(({ label }) => label),
    ['male', 'no_speech', 'male'],
  );
});
