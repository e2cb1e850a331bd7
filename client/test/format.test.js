import assert from 'node:assert/strict';
import { test } from 'node:test';

import { headline, minutes, percent } from '../site/format.js';
import { shareText } from '../site/shares.js';

test('times are minutes, seconds and tenths', () => {
  assert.deepEqual([0, 9.96, 59.94, 59.95, 125.04, -3].map(minutes), [
    '0:00.0',
    '0:10.0',
    '0:59.9',
    '1:00.0',
    '2:05.0',
    '0:00.0',
  ]);
});

test('shares are whole percents', () => assert.equal(percent(0.345), '35 %'));

test('a call is headed by its voices, the longer one first', () => {
  assert.equal(headline({ speech: 10, female: 4, male: 6 }), '60\u00a0%\u00a0male, 40\u00a0%\u00a0female');
  assert.equal(headline({ speech: 10, female: 10, male: 0 }), '100\u00a0%\u00a0female');
  const moods = { speech: 10, female: 0, male: 0, others: { calm: 4, angry: 6 } };
  assert.equal(headline(moods), '60\u00a0%\u00a0angry, 40\u00a0%\u00a0calm');
});

test('a call without a clear voice says so', () => {
  assert.equal(headline({ speech: 10, female: 0, male: 0 }), 'Uncertain');
  assert.equal(headline({ speech: 0, female: 0, male: 0 }), 'No speech heard');
});

test('a share of no speech is no number', () => {
  assert.equal(shareText(0, 0), '–');
  assert.equal(shareText(2.04, 8), '26 % · 2.0 s');
});
