// Servers that render pages import what the page does, with no document and no elements.

import assert from 'node:assert/strict';
import { test } from 'node:test';

test('the library and its component are imported where there is no page, and define nothing', async () => {
  assert.equal(globalThis.HTMLElement, undefined);
  const library = await import('../src/index.js');
  const component = await import('../src/voxgender-voice.js');
  assert.equal(new library.VoxgenderClient('/whip').state, 'idle');
  assert.equal(typeof component.VoxgenderVoice, 'function');
  assert.equal(globalThis.customElements, undefined);
});
