/** @typedef {import('./message-types.js').Label} Label */

/** @type {Readonly<Record<Label, string>>} */
export const LABEL_WORDS = { male: 'Male', female: 'Female', uncertain: 'Uncertain', no_speech: 'No speech' };

/**
 * The word to show for a label: the model’s own, where it is none of the common ones.
 * @param {Label} label
 * @returns {string}
 */
export function labelWord(label) {
  const known = Object.hasOwn(LABEL_WORDS, label) ? LABEL_WORDS[label] : undefined;
  return known ?? label.charAt(0).toUpperCase() + label.slice(1);
}

/**
 * Return whether a label is a voice’s, and not a word for doubt or silence.
 * @param {Label} label
 */
export function isVoice(label) {
  return label !== 'uncertain' && label !== 'no_speech';
}

/**
 * Return whether a label has a colour and a side of its own in every picture; all others share what is left.
 * @param {Label} label
 */
export function isCommon(label) {
  return Object.hasOwn(LABEL_WORDS, label);
}

/**
 * A colour for a label that has none of its own: the same one each time, of a lightness that is seen on dark and light.
 * @param {Label} label
 * @returns {string} in CSS
 */
export function labelColour(label) {
  let hash = 0;
  for (const character of label) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 997;
  // Away from the hues of male and female, which are 30 and 175.
  return `hsl(${200 + ((hash * 137) % 170)} 55% 55%)`;
}
