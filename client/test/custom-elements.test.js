// The manifest says of <voxgender-voice> what its class does: editors, Storybook and documentation read it.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { VoxgenderVoice } from '../src/voxgender-voice.js';

const read = (/** @type {string} */ path) => readFile(new URL(path, import.meta.url), 'utf8');
const manifest = JSON.parse(await read('../custom-elements.json'));
const source = await read('../src/voxgender-voice.js');
const [voice] = manifest.modules[0].declarations;
const names = (/** @type {{name: string}[]} */ entries) => entries.map(({ name }) => name).sort();
const found = (/** @type {RegExp} */ pattern) =>
  [...new Set([...source.matchAll(pattern)].map(([, name]) => name))].sort();

test('the package points to the manifest, and the manifest to the module', async () => {
  const described = JSON.parse(await read('../package.json'));
  assert.equal(described.customElements, 'custom-elements.json');
  assert.equal(described.exports['./voxgender-voice.js'].default, `./${manifest.modules[0].path}`);
  assert.ok(source.includes(`customElements.define('${voice.tagName}', ${voice.name})`));
});

test('it has each attribute, event, part and colour, and no other', () => {
  assert.deepEqual(names(voice.attributes), found(/getAttribute\('([\w-]+)'\)/g));
  assert.deepEqual(names(voice.events), found(/dispatchEvent\(new ClientEvent\('(\w+)'/g));
  assert.deepEqual(names(voice.cssParts), found(/part\('(\w+)'\)/g));
  assert.deepEqual(names(voice.cssProperties), found(/var\((--voxgender-\w+)/g));
});

test('it has each public member, and no other', () => {
  const own = Object.getOwnPropertyNames(VoxgenderVoice.prototype);
  const calledByBrowsers = /^constructor$|Callback$/;
  assert.deepEqual(names(voice.members), own.filter((name) => !calledByBrowsers.test(name)).sort());
});

test('the properties of JSX and templates are its attributes and properties', async () => {
  const properties = await read('../elements/properties.d.ts');
  const typed = [...properties.matchAll(/^ {2}'?([\w-]+)'?\?: /gm)].map(([, name]) => name);
  const fields = voice.members.filter((/** @type {{kind: string}} */ { kind }) => kind === 'field');
  const handlers = voice.events.map((/** @type {{name: string}} */ { name }) => `on${name}`);
  assert.deepEqual(new Set(typed), new Set([...names(voice.attributes), ...names(fields), ...handlers]));
});
