// The language that the page speaks: the browser's where the page has it, or the one chosen on the page.

import { LABEL_WORDS, isCommon, labelWord } from 'voxgender';

import * as english from './words/en.js';

/** @typedef {import('./words/en.js').Words} Words */
/** @typedef {{[K in keyof Words]: Words[K] extends string ? K : never}[keyof Words]} Phrase */

/** Each language by its own name. */
export const LANGUAGES = {
  en: 'English',
  de: 'Deutsch',
  es: 'Español',
  fr: 'Français',
  hi: 'हिन्दी',
  ar: 'العربية',
};

/** @typedef {keyof typeof LANGUAGES} Language */

const RIGHT_TO_LEFT = new Set(['ar']);
const CHOICE = 'voxgender.language';

/** @typedef {import('./words/en.js').Explanations} Explanations */

/** The language in use. */
const spoken = { module: /** @type {{words: Words, errors: Explanations, warnings: Explanations}} */ (english) };

/** Return the words of the language in use. */
export function words() {
  return spoken.module.words;
}

/**
 * Return plain words for an error, in the language in use.
 * @param {{code?: string, message: string}} error
 * @returns {{title: string, advice: string}}
 */
export function explainError({ code = '', message }) {
  const [title = words().somethingWrong, advice = message] = entry(spoken.module.errors, code);
  return { title, advice };
}

/**
 * Return plain words for a warning of the server, in the language in use.
 * @param {string} code
 * @returns {{title: string, advice: string} | null} null for one that is not for people
 */
export function explainWarning(code) {
  const [title, advice] = entry(spoken.module.warnings, code);
  return title && advice ? { title, advice } : null;
}

/**
 * @param {Explanations} explanations
 * @param {string} code
 */
function entry(explanations, code) {
  return (Object.hasOwn(explanations, code) && explanations[code]) || [];
}

/**
 * Return what `<voxgender-voice>` says, in the language in use.
 * @returns {import('voxgender/voxgender-voice.js').Texts}
 */
export function elementTexts() {
  const { connecting, listening } = words();
  return { label: wordOf, explain: explainError, connecting, listening };
}

/**
 * Return the word for a label; a model's own further labels are told as it names them.
 * @param {import('voxgender').Label} label
 */
export function wordOf(label) {
  return isCommon(label) ? words()[/** @type {Phrase} */ (label)] : labelWord(label);
}

/** Return how many letters the longest word for a label has, in the language in use. */
export function longestLabel() {
  return Math.max(...Object.keys(LABEL_WORDS).map((label) => wordOf(label).length));
}

/**
 * Choose the first language that the page has.
 * @param {readonly string[]} wanted BCP 47 tags, the best first
 * @returns {Language}
 */
export function chooseLanguage(wanted) {
  for (const tag of wanted) {
    const [language] = tag.toLowerCase().split('-');
    if (language && Object.hasOwn(LANGUAGES, language)) return /** @type {Language} */ (language);
  }
  return 'en';
}

/** Return the language chosen on this page before, else the browser's. */
export function preferredLanguage() {
  let chosen = null;
  try {
    chosen = localStorage.getItem(CHOICE);
  } catch {
    // The browser keeps nothing for this page.
  }
  return chooseLanguage([...(chosen ? [chosen] : []), ...navigator.languages]);
}

/** @param {Language} language to be used on this page from now on */
export function rememberLanguage(language) {
  try {
    localStorage.setItem(CHOICE, language);
  } catch {
    // It lasts until the page is closed.
  }
}

/**
 * Load a language, and write its words wherever the document asks for them by `data-say`.
 * @param {Language} language
 */
export async function speakLanguage(language) {
  spoken.module = await load(language);
  document.documentElement.lang = spoken.module === english ? 'en' : language;
  document.documentElement.dir = RIGHT_TO_LEFT.has(document.documentElement.lang) ? 'rtl' : 'ltr';
  for (const element of document.querySelectorAll('[data-say]')) {
    element.textContent = words()[/** @type {Phrase} */ (element.getAttribute('data-say'))];
  }
  for (const element of document.querySelectorAll('[data-name]')) {
    element.setAttribute('aria-label', words()[/** @type {Phrase} */ (element.getAttribute('data-name'))]);
  }
}

/**
 * @param {Language} language
 * @returns {Promise<typeof spoken.module>} English where the language cannot be had: a page has to work without it
 */
async function load(language) {
  if (language === 'en') return english;
  // Browsers drop requests that wait while the device changes networks, and remember a module that failed by its URL.
  for (const query of ['', '?again=1', '?again=2']) {
    try {
      return await import(`./words/${language}.js${query}`);
    } catch (error) {
      console.warn(`voxgender: no words in ${language}:`, error);
    }
  }
  return english;
}
