// The language that the page speaks: the browser's where the page has it, or the one chosen on the page.

import { isCommon, labelWord } from 'voxgender';

import { words as english } from './words/en.js';

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

/** The language in use. */
const spoken = { words: /** @type {Words} */ (english) };

/** Return the words of the language in use. */
export function words() {
  return spoken.words;
}

/**
 * Return the word for a label; a model's own further labels are told as it names them.
 * @param {import('voxgender').Label} label
 */
export function wordOf(label) {
  return isCommon(label) ? words()[/** @type {Phrase} */ (label)] : labelWord(label);
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
  spoken.words = language === 'en' ? english : (await import(`./words/${language}.js`)).words;
  document.documentElement.lang = language;
  document.documentElement.dir = RIGHT_TO_LEFT.has(language) ? 'rtl' : 'ltr';
  for (const element of document.querySelectorAll('[data-say]')) {
    element.textContent = spoken.words[/** @type {Phrase} */ (element.getAttribute('data-say'))];
  }
  for (const element of document.querySelectorAll('[data-name]')) {
    element.setAttribute('aria-label', spoken.words[/** @type {Phrase} */ (element.getAttribute('data-name'))]);
  }
}
