import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Viewport, ticks } from '../site/viewport.js';

test('the whole call is shown, however long it grows, until it is zoomed', () => {
  const viewport = new Viewport();
  viewport.grow(100);
  assert.deepEqual([viewport.from, viewport.to], [0, 100]);
  viewport.zoom(2);
  viewport.grow(200);
  assert.deepEqual([viewport.from, viewport.to], [25, 75]);
});

test('the time under the pointer stays there', () => {
  const viewport = new Viewport();
  viewport.grow(100);
  viewport.zoom(4, 0.2);
  assert.equal(viewport.from + 0.2 * (viewport.to - viewport.from), 20);
});

test('nothing outside the call is shown, and no less than five seconds', () => {
  const viewport = new Viewport();
  viewport.grow(100);
  viewport.zoom(2);
  viewport.pan(10);
  assert.deepEqual([viewport.from, viewport.to], [50, 100]);
  viewport.zoom(1000);
  assert.equal(viewport.to - viewport.from, 5);
  viewport.zoom(1 / 1000);
  assert.ok(viewport.isWhole);
});

test('times on the axis are round, and not too many', () => {
  assert.deepEqual(ticks(0, 60, 8), [0, 10, 20, 30, 40, 50, 60]);
  assert.deepEqual(ticks(61, 95, 4), [70, 80, 90]);
  assert.ok(ticks(0, 86_400, 10).length <= 11);
});
