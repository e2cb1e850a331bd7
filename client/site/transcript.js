// A call written down, in the formats of editors, tables, programs, players and phoneticians.

import { isVoice } from 'voxgender';

/** @typedef {import('./label-runs.js').LabelRun} LabelRun */
/** @typedef {Pick<LabelRun, 'label' | 'start' | 'end' | 'confidence'>} Line */
/** @typedef {(label: string) => string} LabelNames returns the word for a label */

/**
 * @typedef {object} Format
 * @property {string} name
 * @property {string} extension
 * @property {string} type MIME type
 * @property {(lines: readonly Line[], names: LabelNames) => string} write
 */

/** @satisfies {Record<string, Format>} */
export const FORMATS = {
  text: { name: 'Text', extension: 'txt', type: 'text/plain', write: toText },
  csv: { name: 'CSV', extension: 'csv', type: 'text/csv', write: toCsv },
  json: { name: 'JSON', extension: 'json', type: 'application/json', write: toJson },
  vtt: { name: 'WebVTT', extension: 'vtt', type: 'text/vtt', write: toWebVtt },
  textgrid: { name: 'TextGrid', extension: 'TextGrid', type: 'text/plain', write: toTextGrid },
};

/**
 * Write lines for people, in the page's own words.
 * @param {readonly Line[]} lines
 * @param {LabelNames} names
 */
export function toText(lines, names) {
  return lines
    .map((line) => {
      const sure = isVoice(line.label) ? `  ${Math.round(line.confidence * 100)} %` : '';
      return `${clock(line.start)} – ${clock(line.end)}  ${names(line.label)}${sure}\n`;
    })
    .join('');
}

/**
 * Write a table (RFC 4180): seconds, label, confidence. The confidence of silence and doubt is left empty.
 * @param {readonly Line[]} lines
 */
export function toCsv(lines) {
  const rows = lines.map((line) => [
    line.start.toFixed(3),
    line.end.toFixed(3),
    /[",\r\n]/.test(line.label) ? `"${line.label.replaceAll('"', '""')}"` : line.label,
    isVoice(line.label) ? line.confidence.toFixed(4) : '',
  ]);
  return [['start', 'end', 'label', 'confidence'], ...rows].map((row) => `${row.join(',')}\r\n`).join('');
}

/**
 * Write an array of objects with the names that the protocol has.
 * @param {readonly Line[]} lines
 */
export function toJson(lines) {
  const segments = lines.map((line) => ({
    start: rounded(line.start, 3),
    end: rounded(line.end, 3),
    label: line.label,
    ...(isVoice(line.label) ? { confidence: rounded(line.confidence, 4) } : {}),
  }));
  return `${JSON.stringify(segments, null, 2)}\n`;
}

/**
 * Write captions (https://www.w3.org/TR/webvtt1/), one for each voice. Silence has none.
 * @param {readonly Line[]} lines
 * @param {LabelNames} names
 */
export function toWebVtt(lines, names) {
  const cues = lines
    .filter(({ label, start, end }) => label !== 'no_speech' && end > start)
    .map(
      ({ label, start, end }) =>
        `${clock(start)} --> ${clock(end)}\n<v ${escaped(names(label))}>${escaped(names(label))}\n`,
    );
  return ['WEBVTT\n', ...cues].join('\n');
}

/**
 * Write a TextGrid of Praat with one interval tier. Its intervals have no gaps: silence is an interval without a text.
 * @param {readonly Line[]} lines
 */
export function toTextGrid(lines) {
  /** @type {[start: number, end: number, text: string][]} */
  const intervals = [];
  let at = 0;
  for (const { label, start, end } of lines) {
    if (start - at > 0.0005) intervals.push([at, start, '']);
    if (end > at) intervals.push([Math.max(at, start), end, label === 'no_speech' ? '' : label]);
    at = Math.max(at, end);
  }
  const span = [`xmin = 0`, `xmax = ${at.toFixed(3)}`];
  const tier = intervals.flatMap(([start, end, text], index) => [
    `        intervals [${index + 1}]:`,
    `            xmin = ${start.toFixed(3)}`,
    `            xmax = ${end.toFixed(3)}`,
    `            text = "${text.replaceAll('"', '""')}"`,
  ]);
  return [
    'File type = "ooTextFile"',
    'Object class = "TextGrid"',
    '',
    ...span,
    'tiers? <exists>',
    'size = 1',
    'item []:',
    '    item [1]:',
    '        class = "IntervalTier"',
    '        name = "voice"',
    ...span.map((line) => `        ${line}`),
    `        intervals: size = ${intervals.length}`,
    ...tier,
    '',
  ].join('\n');
}

/**
 * @param {number} value
 * @param {number} digits
 */
function rounded(value, digits) {
  return Number(value.toFixed(digits));
}

/** @param {string} text */
function escaped(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** @param {number} seconds */
function clock(seconds) {
  const ms = Math.max(0, Math.round(seconds * 1000));
  const parts = [ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60];
  return `${parts.map((part) => String(Math.floor(part)).padStart(2, '0')).join(':')}.${String(ms % 1000).padStart(3, '0')}`;
}
