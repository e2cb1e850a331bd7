// The part that runs in the browser's audio thread, with that thread's globals.

import assert from 'node:assert/strict';
import { test } from 'node:test';

const BLOCK = 128;

/** Frames that come of a tone. */
async function capture(rateHz, { toneHz, seconds = 2, connected = true, right = undefined }) {
  const frames = [];
  let Processor;
  globalThis.sampleRate = rateHz;
  globalThis.AudioWorkletProcessor = class {
    port = { postMessage: (frame) => frames.push(frame) };
  };
  globalThis.registerProcessor = (_, processor) => (Processor = processor);
  await import(`../src/capture-worklet.js?${rateHz}-${toneHz}-${connected}-${right}`);
  const processor = new Processor();
  for (let start = 0; start < rateHz * seconds; start += BLOCK) {
    const block = Float32Array.from({ length: BLOCK }, (_, index) =>
      Math.sin((2 * Math.PI * toneHz * (start + index)) / rateHz),
    );
    const channels = right === undefined ? [block] : [block, block.map((value) => right * value)];
    assert.equal(processor.process([connected ? channels : []]), true);
  }
  return frames;
}

/** RMS of the sound in decibels, beside that of the tone. */
function levelDb(frames) {
  const samples = frames.slice(5).flatMap((frame) => [...frame]);
  return 10 * Math.log10((2 * samples.reduce((sum, value) => sum + value * value, 0)) / samples.length);
}

for (const rateHz of [16_000, 44_100, 48_000, 96_000]) {
  test(`a voice at ${rateHz} Hz is 16 kHz in frames of 40 ms, as loud as before`, async () => {
    const frames = await capture(rateHz, { toneHz: 1_000 });
    assert.ok(Math.abs(frames.length - 50) <= 1, `${frames.length} frames`);
    assert.ok(frames.every((frame) => frame.length === 640));
    assert.ok(Math.abs(levelDb(frames)) < 0.1, `${levelDb(frames)} dB`);
    const cycles = [...frames[10]].filter((value, index, all) => index && all[index - 1] < 0 && value >= 0).length;
    assert.ok(Math.abs(cycles - 40) <= 1, 'the tone is what it was');
  });
}

for (const rateHz of [44_100, 48_000]) {
  test(`what 16 kHz cannot hold of ${rateHz} Hz is taken out, not folded down`, async () => {
    assert.ok(levelDb(await capture(rateHz, { toneHz: 9_000 })) < -60);
    assert.ok(Math.abs(levelDb(await capture(rateHz, { toneHz: 6_000 }))) < 0.5);
  });
}

for (const [right, expectedDb] of [
  [-1, 0],
  [-2, 6.02],
  [-0.6, 0],
  [1, 0],
  [0, -6.02],
  [0.5, -2.5],
]) {
  test(`of two channels, the second ${right} times the first, the mean is heard, or the louder one of two that cancel`, async () => {
    // The browser's own mix of a balanced line in a stereo jack was silence.
    const level = levelDb(await capture(48_000, { toneHz: 1_000, right }));
    assert.ok(Math.abs(level - expectedDb) < 0.1, `${level} dB`);
  });
}

test('with nothing connected there is silence, and time goes on', async () => {
  const frames = await capture(48_000, { toneHz: 1_000, seconds: 1, connected: false });
  assert.ok(frames.length >= 24);
  assert.ok(frames.every((frame) => frame.every((sample) => sample === 0)));
});
