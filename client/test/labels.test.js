import assert from 'node:assert/strict';
import { test } from 'node:test';

import { isCommon, isVoice, labelColour, labelWord } from '../src/labels.js';

test('a label is shown by a common word, or by the model’s own', () => {
  assert.deepEqual(['female', 'no_speech', 'child', 'très content', 'constructor'].map(labelWord), [
    'Female',
    'No speech',
    'Child',
    'Très content',
    'Constructor',
  ]);
});

test('doubt and silence are no voices', () => {
  assert.deepEqual(['male', 'child', 'uncertain', 'no_speech'].map(isVoice), [true, true, false, false]);
  assert.deepEqual(['male', 'uncertain', 'child', 'toString'].map(isCommon), [true, true, false, false]);
});

test('a label of a model’s own has one colour, always the same', () => {
  assert.equal(labelColour('child'), labelColour('child'));
  assert.notEqual(labelColour('child'), labelColour('angry'));
  assert.match(labelColour('x'), /^hsl\(\d+ 55% 55%\)$/);
});
