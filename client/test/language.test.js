import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import { test } from 'node:test';

import {
  LANGUAGES,
  chooseLanguage,
  explainError,
  explainWarning,
  speakLanguage,
  words as spoken,
} from '../site/language.js';
import * as en from '../site/words/en.js';
import { ERROR_WORDS, VoxgenderError, explain } from '../src/index.js';

const english = en.words;

test('the first language that the page has is chosen, whatever its region', () => {
  assert.equal(chooseLanguage(['sw', 'pt-BR', 'FR-ca', 'de']), 'fr');
  assert.equal(chooseLanguage(['ar-EG']), 'ar');
  assert.equal(chooseLanguage(['constructor', 'tlh']), 'en');
  assert.equal(chooseLanguage([]), 'en');
});

for (const language of Object.keys(LANGUAGES)) {
  test(`${language} says all that English says, with the same figures`, async () => {
    const { words } = await import(`../site/words/${language}.js`);
    assert.deepEqual(Object.keys(words), Object.keys(english));
    for (const [key, phrase] of Object.entries(english)) {
      assert.equal(typeof words[key], typeof phrase, key);
      if (typeof phrase !== 'function') continue;
      const figures = [7, 11, 13].slice(0, phrase.length);
      const said = words[key](...figures);
      for (const figure of figures) assert.ok(said.includes(String(figure)), `${key} leaves ${figure} out`);
    }
  });
}

for (const language of Object.keys(LANGUAGES)) {
  test(`${language} explains each error and each warning that English explains`, async () => {
    const { errors, warnings } = await import(`../site/words/${language}.js`);
    for (const [said, needed] of [
      [errors, en.errors],
      [warnings, en.warnings],
    ]) {
      assert.deepEqual(Object.keys(said).sort(), Object.keys(needed).sort());
      for (const [code, texts] of Object.entries(said)) {
        assert.equal(texts.length, 2, code);
        assert.ok(
          texts.every((text) => text.length > 5 && !text.includes('#token')),
          code,
        );
        if (language !== 'en') assert.notDeepEqual(texts, needed[code], `${code} is not translated`);
      }
    }
  });
}

test('every text that the pages ask for by name is there', async () => {
  const site = new URL('../site/', import.meta.url);
  const pages = (await readdir(site)).filter((name) => name.endsWith('.html'));
  assert.equal(pages.length, 3);
  for (const page of pages) {
    const html = await readFile(new URL(page, site), 'utf8');
    const keys = [...html.matchAll(/data-(?:say|name)="(\w+)"/g)].map(([, key]) => key);
    assert.ok(keys.length > 8, page);
    for (const key of keys) assert.equal(typeof english[key], 'string', `${page}: ${key}`);
  }
});

test('errors are told in the language in use, and unknown ones by their message', async () => {
  globalThis.document = { documentElement: {}, querySelectorAll: () => [] };
  try {
    await speakLanguage('fr');
    const full = new VoxgenderError('at_capacity', 'no room');
    assert.equal(explainError(full).title, 'Le serveur est plein');
    assert.equal(explain(full).title, ERROR_WORDS.at_capacity[0]);
    assert.deepEqual(explainError({ code: 'constructor', message: 'odd' }), {
      title: spoken().somethingWrong,
      advice: 'odd',
    });
    assert.equal(explainWarning('low_level').title, 'Votre voix est très faible');
    assert.equal(explainWarning('draining'), null);
    await speakLanguage('en');
    assert.deepEqual(explainError(full), explain(full));
  } finally {
    delete globalThis.document;
  }
});
