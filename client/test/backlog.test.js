import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Backlog } from '../src/backlog.js';

const FRAME_S = 0.04;

/** @returns {number} frames that were admitted */
function send(backlog, seconds, queuedS = 0) {
  let admitted = 0;
  for (let frame = 0; frame < Math.round(seconds / FRAME_S); frame += 1) {
    if (backlog.admit(FRAME_S, queuedS)) admitted += 1;
  }
  return admitted;
}

const result = (end) => ({ v: 1, type: 'result', seq: 1, start: end - 1, end, label: 'male', confidence: 1 });

test('sound that the server keeps up with is all sent', () => {
  const backlog = new Backlog(0);
  for (let end = 0.2; end < 20; end += 0.2) {
    assert.equal(send(backlog, 0.2), 5);
    assert.equal(backlog.place(result(end)).end, end);
  }
  assert.equal(backlog.dropping, false);
});

test('sound is not queued for seconds: what nobody has heard of is followed by nothing', () => {
  const backlog = new Backlog(0);
  send(backlog, 10);
  assert.equal(backlog.dropping, true);
  assert.ok(send(new Backlog(0), 10) * FRAME_S <= 1.6);
});

const hello = (fields) => ({ v: 1, type: 'hello', session: 's', hop_ms: 192, ...fields });

for (const hop_ms of [192, 1_728, 1_984]) {
  test(`hops of ${hop_ms} ms are waited for: from 1728 ms on all sound was dropped, for good`, () => {
    const backlog = new Backlog(0);
    backlog.place(hello({ hop_ms }));
    const frames = Math.floor(hop_ms / 40);
    let sentS = 0;
    for (let hop = 0; hop < 20; hop += 1) {
      assert.equal(send(backlog, frames * FRAME_S), frames);
      sentS += frames * FRAME_S;
      backlog.place(result(sentS));
    }
    const lateS = send(backlog, 10) * FRAME_S;
    assert.ok(lateS <= Math.max(1.6, hop_ms / 1_000 + 1.1), 'a network that stops is noticed');
    backlog.place(result(sentS + lateS - hop_ms / 1_000 - 0.4));
    assert.equal(backlog.admit(FRAME_S, 0), true, 'of a hop that is not over no result can tell yet');
  });
}

test('without results all sound is sent that the socket takes: after 1.5 s it was dropped, for good', () => {
  const backlog = new Backlog(0);
  backlog.place(hello({ messages: ['change', 'summary'] }));
  assert.equal(send(backlog, 60), 1_500);
  assert.equal(send(backlog, 1, 2), 0);
  assert.equal(send(backlog, 1, 0.6), 0);
  assert.equal(send(backlog, 1, 0.1), 25);
  const change = backlog.place({ v: 1, type: 'change', at: 60.5, from: 'no_speech', to: 'male', confidence: 1 });
  assert.ok(Math.abs(change.at - 62.5) < 1e-6, 'times are those of the live clock');
});

test('changes and segments tell what was heard, too', () => {
  const backlog = new Backlog(0);
  send(backlog, 3);
  backlog.place({ v: 1, type: 'change', at: 1.4, from: 'no_speech', to: 'male', confidence: 1 });
  assert.equal(backlog.admit(FRAME_S, 0), true);
});

test('what the socket says it holds counts too', () => {
  assert.equal(send(new Backlog(0), 1, 2), 0);
});

test('sound goes on once the server has caught up, and not before', () => {
  const backlog = new Backlog(0);
  send(backlog, 3);
  backlog.place(result(0.8));
  assert.equal(backlog.admit(FRAME_S, 0), false);
  backlog.place(result(1.4));
  assert.equal(backlog.admit(FRAME_S, 0), true);
});

test('times behind a gap are those of the live clock', () => {
  const backlog = new Backlog(0);
  const sentS = send(backlog, 10) * FRAME_S;
  const before = backlog.place(result(sentS));
  assert.equal(before.end, sentS, 'an end at the gap lies before it');
  send(backlog, 1);
  const after = backlog.place({ v: 1, type: 'segment', start: sentS, end: sentS + 0.5, label: 'male', confidence: 1 });
  assert.ok(Math.abs(after.start - 10) < 0.01);
  assert.ok(Math.abs(after.end - 10.5) < 0.01);
  assert.ok(Math.abs(backlog.place({ v: 1, type: 'change', at: sentS + 0.5 }).at - 10.5) < 0.01);
});

test('a session that resumes counts from there', () => {
  const backlog = new Backlog(100);
  assert.equal(send(backlog, 1), 25);
  assert.equal(backlog.place(result(100.8)).end, 100.8);
});
