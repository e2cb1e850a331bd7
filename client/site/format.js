/** @typedef {import('voxgender').Summary} Summary */

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
  if (!speech) return 'No speech heard';
  const voices = /** @type {[seconds: number, word: string][]} */ ([
    [female, 'female'],
    [male, 'male'],
    ...Object.entries(others ?? {}).map(([label, seconds]) => [seconds, label]),
  ]);
  const shares = voices
    .filter(([seconds]) => seconds > 0)
    .sort(([a], [b]) => b - a)
    .map(([seconds, word]) => `${percent(seconds / speech)} ${word}`);
  return shares.join(', ') || 'Uncertain';
}
