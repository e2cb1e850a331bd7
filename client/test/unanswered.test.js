// Reasons for which a request got no answer are told apart by what else the browser says.

import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { noteAnswer, whyUnanswered } from '../src/unanswered.js';
import { explain } from '../src/words.js';

const original = globalThis.fetch;
const FAILED = new TypeError('Failed to fetch');

afterEach(() => {
  globalThis.fetch = original;
  delete globalThis.location;
});

/**
 * A page at an address, and what its browser gets.
 * @param {string} href
 * @param {{modes?: string[], permission?: string | null}} [browser] the modes in which requests are answered; the state
 *   of the permission for local networks, null where the browser knows none
 */
function aPage(href, { modes = [], permission = null } = {}) {
  Object.defineProperty(globalThis, 'location', { value: new URL(href), configurable: true });
  globalThis.fetch = async (_, { mode }) => {
    if (!modes.includes(mode)) throw FAILED;
    return new Response(null);
  };
  const query = async ({ name }) => {
    if (permission === null || name !== 'local-network-access') throw new TypeError('unknown');
    return { state: permission };
  };
  Object.defineProperty(globalThis, 'navigator', { value: { permissions: { query } }, configurable: true });
}

for (const [what, page, browser, endpoint, code, heals] of [
  ['a dead server', 'https://page.example', {}, 'https://voice.example/whip', 'unreachable', true],
  [
    'a refusal by CORS',
    'https://page.example',
    { modes: ['no-cors'] },
    'https://voice.example/whip',
    'cross_origin',
    false,
  ],
  [
    'a server that is back by now',
    'https://page.example',
    { modes: ['no-cors', 'cors'] },
    'https://voice.example/whip',
    'unreachable',
    true,
  ],
  [
    'the page’s own server',
    'https://page.example',
    { modes: ['no-cors'] },
    'https://page.example/whip',
    'unreachable',
    true,
  ],
  ['a server without TLS', 'https://page.example', {}, 'http://voice.example/whip', 'mixed_content', false],
  [
    'a localhost that may not be reached',
    'https://page.example',
    { permission: 'denied' },
    'http://localhost:8080/whip',
    'local_network',
    false,
  ],
  [
    'a server of the network, not asked for yet',
    'https://page.example',
    { permission: 'prompt' },
    'https://192.168.1.7/whip',
    'local_network',
    false,
  ],
  [
    'a server of the network that is down',
    'https://page.example',
    { permission: 'granted' },
    'https://voice.local/whip',
    'unreachable',
    true,
  ],
  ['an older browser', 'https://page.example', {}, 'https://10.0.0.7/whip', 'unreachable', true],
  [
    'a page of the same network',
    'http://192.168.1.2',
    { permission: 'prompt' },
    'http://192.168.1.7/whip',
    'unreachable',
    true,
  ],
]) {
  test(`${what} is named`, async () => {
    aPage(page, browser);
    const error = await whyUnanswered(endpoint, FAILED);
    assert.equal(error.code, code);
    assert.equal(error.heals, heals);
    assert.equal(error.cause, FAILED);
    assert.notEqual(explain(error).title, 'Something went wrong');
  });
}

test('a server that this page has read before is restarting behind its proxy', async () => {
  aPage('https://page.example', { modes: ['no-cors'] });
  noteAnswer('https://proxied.example/whip');
  const error = await whyUnanswered('https://proxied.example/whip', FAILED);
  assert.equal(error.code, 'cross_origin');
  assert.equal(error.heals, true);
});

test('outside of pages there is nothing to find out', async () => {
  assert.equal((await whyUnanswered('http://localhost/whip', FAILED)).code, 'unreachable');
});

test('a server that took too long is not asked again', async () => {
  aPage('https://page.example', { modes: ['no-cors'] });
  const cause = new DOMException('too long', 'TimeoutError');
  assert.equal((await whyUnanswered('https://voice.example/whip', cause)).code, 'unreachable');
});
