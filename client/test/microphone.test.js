import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { openMicrophone } from '../src/microphone.js';
import { explain } from '../src/words.js';
import { FakeMicrophones } from './fakes.js';

let microphones;
beforeEach(() => (microphones = new FakeMicrophones().install()));

test('echo and noise are taken out and the level is left alone', async () => {
  await openMicrophone();
  assert.deepEqual(microphones.asked, [
    { echoCancellation: true, noiseSuppression: true, autoGainControl: false, channelCount: 1 },
  ]);
});

test('a chosen microphone is a wish, so that one that is gone does no harm', async () => {
  await openMicrophone('desk');
  assert.deepEqual(microphones.asked[0].deviceId, { ideal: 'desk' });
});

for (const [name, code, title] of [
  ['NotAllowedError', 'denied', 'The microphone is blocked'],
  ['NotFoundError', 'not_found', 'No microphone found'],
  ['NotReadableError', 'busy', 'The microphone is busy'],
  ['OverconstrainedError', 'unavailable', 'Something went wrong'],
]) {
  test(`${name} is told in plain words`, async () => {
    microphones.error = new DOMException('from the browser', name);
    await assert.rejects(openMicrophone(), (error) => error.code === code && explain(error).title === title);
  });
}

test('an insecure page is told apart from a missing microphone', async () => {
  Object.defineProperty(globalThis, 'navigator', { value: {}, configurable: true });
  await assert.rejects(openMicrophone(), { code: 'insecure_origin' });
});
