import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FORMATS, toCsv, toJson, toText, toTextGrid, toWebVtt } from '../site/transcript.js';
import { wordOf } from '../site/language.js';

const LINES = [
  { label: 'no_speech', start: 0, end: 0.5, confidence: 1 },
  { label: 'male', start: 0.5, end: 5.0625, confidence: 0.99954 },
  { label: 'uncertain', start: 5.5, end: 6, confidence: 0.7 },
  { label: 'female', start: 3661, end: 3662.5, confidence: 0.9 },
];

test('text is for people, in the words of the page', () => {
  assert.equal(
    toText(LINES.slice(0, 2), (label) => ({ male: 'Männlich', no_speech: 'Stille' })[label]),
    '00:00:00.000 – 00:00:00.500  Stille\n00:00:00.500 – 00:00:05.063  Männlich  100 %\n',
  );
});

test('a table has one row for each line, and no confidence where there is no voice', () => {
  assert.equal(
    toCsv(LINES),
    'start,end,label,confidence\r\n0.000,0.500,no_speech,\r\n0.500,5.063,male,0.9995\r\n5.500,6.000,uncertain,\r\n' +
      '3661.000,3662.500,female,0.9000\r\n',
  );
});

test('JSON is read back as it was told', () => {
  assert.deepEqual(JSON.parse(toJson(LINES)).slice(0, 2), [
    { start: 0, end: 0.5, label: 'no_speech' },
    { start: 0.5, end: 5.063, label: 'male', confidence: 0.9995 },
  ]);
  assert.deepEqual(JSON.parse(toJson([])), []);
});

test('captions name each voice and leave silence out', () => {
  assert.equal(
    toWebVtt(LINES, wordOf),
    [
      'WEBVTT\n',
      '00:00:00.500 --> 00:00:05.063\n<v Male>Male\n',
      '00:00:05.500 --> 00:00:06.000\n<v Uncertain>Uncertain\n',
      '01:01:01.000 --> 01:01:02.500\n<v Female>Female\n',
    ].join('\n'),
  );
  assert.equal(toWebVtt([], wordOf), 'WEBVTT\n');
});

test('a TextGrid has no gaps and no overlaps', () => {
  const grid = toTextGrid([...LINES, { label: 'male', start: 3662, end: 3664, confidence: 1 }]);
  const numbers = (name) =>
    [...grid.matchAll(new RegExp(`^ {12}${name} = ([\\d.]+)$`, 'gm'))].map(([, n]) => Number(n));
  const [starts, ends] = [numbers('xmin'), numbers('xmax')];
  assert.deepEqual(starts.slice(1), ends.slice(0, -1));
  assert.equal(ends.at(-1), 3664);
  assert.match(grid, new RegExp(`intervals: size = ${starts.length}\n`));
  const texts = [...grid.matchAll(/text = "(.*)"/g)].map(([, text]) => text);
  assert.deepEqual(texts, ['', 'male', '', 'uncertain', '', 'female', 'male']);
});

test('a model’s own labels cannot break a format', () => {
  const lines = [{ label: 'a "b", <c>', start: 0, end: 1, confidence: 1 }];
  assert.match(toCsv(lines), /0\.000,1\.000,"a ""b"", <c>",1/);
  assert.match(toTextGrid(lines), /text = "a ""b"", <c>"/);
  assert.match(
    toWebVtt(lines, (label) => label),
    /<v a "b", &lt;c&gt;>/,
  );
});

test('every format can be written of an empty call', () => {
  for (const { write } of Object.values(FORMATS)) assert.equal(typeof write([], wordOf), 'string');
});
