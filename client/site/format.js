import { wordOf, words } from './language.js';

/** @typedef {import('voxgender').Summary} Summary */

const NO_BREAK = '\u00a0';

/** @param {number} share 0 … 1 */
export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/** @param {number} seconds */
export function minutes(seconds) {
  const tenths = Math.max(0, Math.round(seconds * 10));
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, '0');
  return `${Math.floor(tenths / 600)}:${rest}`;
}

/**
 * A whole call in a few words, the voice that spoke longest first.
 * @param {Summary} summary
 */
export function headline({ speech, female, male, others }) {
  if (!speech) return words().noSpeechHeard;
  const voices = /** @type {[seconds: number, word: string][]} */ ([
    [female, words().female],
    [male, words().male],
    ...Object.entries(others ?? {}).map(([label, seconds]) => [seconds, wordOf(label)]),
  ]);
  const shares = voices
    .filter(([seconds]) => seconds > 0)
    .sort(([a], [b]) => b - a)
    .map(([seconds, word]) => `${percent(seconds / speech)} ${word.toLowerCase()}`.replaceAll(' ', NO_BREAK));
  return shares.join(', ') || words().uncertain;
}
