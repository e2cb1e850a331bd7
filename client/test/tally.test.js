import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Tally } from '../src/tally.js';

const hello = { v: 1, type: 'hello' };
const result = (end, label) => ({ v: 1, type: 'result', end, label });
const summary = {
  v: 1,
  type: 'summary',
  duration: 10,
  speech: 6,
  male: 4,
  female: 2,
  uncertain: 0,
  segments: 2,
  others: {},
};

test('a session that ended well is told by its own summary', () => {
  const tally = new Tally();
  for (const message of [hello, result(0.2, 'female'), summary]) tally.observe(message);
  assert.deepEqual(tally.total(), summary);
});

test('a lost session is told by its results', () => {
  const tally = new Tally();
  for (const message of [hello, result(0.2, 'no_speech'), result(0.4, 'male'), result(0.6, 'male')])
    tally.observe(message);
  const { duration, speech, male, segments } = tally.total();
  assert.deepEqual(
    [duration, speech, male].map((seconds) => seconds.toFixed(1)),
    ['0.6', '0.4', '0.4'],
  );
  assert.equal(segments, 1);
});

test('hops of two seconds are counted whole', () => {
  const tally = new Tally();
  for (const message of [{ ...hello, hop_ms: 1_920 }, result(1.92, 'male'), result(3.84, 'male')])
    tally.observe(message);
  assert.equal(tally.total().male.toFixed(2), '3.84');
});

test('sessions on both sides of a loss add up', () => {
  const tally = new Tally();
  for (const message of [hello, result(0.5, 'female'), hello, summary]) tally.observe(message);
  assert.equal(tally.total().female, 2.5);
  assert.equal(tally.total().segments, 3);
});

test('what was not heard during a gap is nobody’s', () => {
  const tally = new Tally();
  for (const message of [hello, result(0.2, 'male'), result(30, 'male')]) tally.observe(message);
  assert.equal(tally.total().male, 1.2);
  assert.equal(tally.total().duration, 30);
});

test('a hello on the second channel of a session counts no time twice', () => {
  const tally = new Tally();
  for (const message of [hello, result(0.5, 'male'), hello]) tally.observe(message);
  assert.equal(tally.total().male, 0.5);
});

test('a label that only this model knows is summed up under its own name', () => {
  const tally = new Tally();
  const told = { ...summary, speech: 9, others: { child: 3 } };
  for (const message of [hello, result(0.5, 'child'), result(1, 'male'), hello, told]) tally.observe(message);
  assert.deepEqual(tally.total().others, { child: 3.5 });
  assert.equal(tally.total().speech, 10);
});
