import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { messageTypes } from '../tools/message-types.js';

test('the types of messages are those of the protocol’s schema', () => {
  const written = readFileSync(new URL('../src/message-types.js', import.meta.url), 'utf8');
  assert.equal(written, messageTypes(), 'write them anew: node client/tools/message-types.js');
});
