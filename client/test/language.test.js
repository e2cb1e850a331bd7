import assert from 'node:assert/strict';
import { test } from 'node:test';

import { LANGUAGES, chooseLanguage } from '../site/language.js';
import { words as english } from '../site/words/en.js';

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
