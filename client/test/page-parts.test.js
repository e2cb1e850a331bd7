// The parts of the page, on elements that are made up.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { Announcer } from '../site/announcer.js';
import { speakLanguage } from '../site/language.js';
import { LatencyReadout } from '../site/latency-readout.js';
import { Notice } from '../site/notice.js';
import { Shares } from '../site/shares.js';
import { VoicePanel } from '../site/voice-panel.js';
import { ConnectionError, MicrophoneError } from '../src/errors.js';
import { FakeElement, elements } from './elements.js';

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval'] }));
afterEach(() => mock.timers.reset());

const total = { duration: 10, speech: 8, male: 2, female: 6, uncertain: 0, segments: 2 };

test('a voice is read out once it has lasted', () => {
  const element = new FakeElement();
  const announcer = new Announcer(element);
  announcer.hear('male');
  mock.timers.tick(500);
  announcer.hear('female');
  mock.timers.tick(500);
  announcer.hear('female');
  assert.equal(element.textContent, '');
  mock.timers.tick(300);
  assert.equal(element.textContent, 'Female');
});

test('nothing is read out after the end, and the first voice of the next call is', () => {
  const element = new FakeElement();
  const announcer = new Announcer(element);
  announcer.hear('male');
  announcer.stop();
  mock.timers.tick(1000);
  assert.equal(element.textContent, '');
  announcer.hear('male');
  mock.timers.tick(1000);
  assert.equal(element.textContent, 'Male');
});

test('a voice is shown with its confidence, and silence and doubt with words', () => {
  const shown = elements('panel', 'eyebrow', 'word', 'sure', 'bar');
  const panel = new VoicePanel(shown);
  panel.showResult({ label: 'female', confidence: 0.914 });
  assert.deepEqual([shown.word.textContent, shown.sure.textContent], ['Female', '91 % sure']);
  assert.equal(shown.panel.dataset.label, 'female');
  assert.equal(shown.bar.properties['--confidence'], '0.914');
  panel.showResult({ label: 'no_speech', confidence: 1 });
  assert.deepEqual([shown.word.textContent, shown.sure.textContent], ['No speech', 'Waiting for a voice']);
  assert.equal(shown.bar.properties['--confidence'], '0');
});

test('a label of the model’s own is shown by its own name and colour', () => {
  const shown = elements('panel', 'eyebrow', 'word', 'sure', 'bar');
  const panel = new VoicePanel(shown);
  panel.showResult({ label: 'child', confidence: 0.8 });
  assert.deepEqual([shown.word.textContent, shown.sure.textContent], ['Child', '80 % sure']);
  assert.ok(shown.panel.classes.has('own'));
  panel.showResult({ label: 'male', confidence: 0.8 });
  assert.ok(!shown.panel.classes.has('own'));
});

test('a label is told in the language that is chosen while the call goes on', async () => {
  const shown = elements('panel', 'eyebrow', 'word', 'sure', 'bar');
  const panel = new VoicePanel(shown);
  panel.showResult({ label: 'female', confidence: 0.9 });
  globalThis.document = { documentElement: {}, querySelectorAll: () => [] };
  await speakLanguage('de');
  panel.showState('live', total);
  assert.deepEqual([shown.word.textContent, shown.eyebrow.textContent], ['Weiblich', 'Gerade gehört']);
  await speakLanguage('en');
  delete globalThis.document;
});

test('a label does not stay while the call is being made again', () => {
  const shown = elements('panel', 'eyebrow', 'word', 'sure', 'bar');
  const panel = new VoicePanel(shown);
  panel.showResult({ label: 'female', confidence: 0.9 });
  panel.showState('live', total);
  assert.equal(shown.word.textContent, 'Female');
  panel.showState('reconnecting', total);
  assert.equal(shown.word.textContent, 'Reconnecting…');
  assert.equal(shown.panel.dataset.label, undefined);
});

test('a call that is over is summed up, one that never was is not', () => {
  const shown = elements('panel', 'eyebrow', 'word', 'sure', 'bar');
  const panel = new VoicePanel(shown);
  panel.showState('stopped', { ...total, duration: 0 });
  assert.deepEqual([shown.eyebrow.textContent, shown.word.textContent], ['Live voice', 'Stopped']);
  panel.showState('stopped', total);
  assert.deepEqual(
    [shown.eyebrow.textContent, shown.word.textContent],
    ['Summary', '75\u00a0%\u00a0female, 25\u00a0%\u00a0male'],
  );
  assert.equal(shown.sure.textContent, '8.0 s of speech in 10.0 s');
});

const lost = new ConnectionError('lost', 'gone');

test('an error that heals says when it is tried again, and stays readable while it is', () => {
  const shown = elements('box', 'title', 'advice');
  const notice = new Notice(shown);
  notice.showState({ state: 'reconnecting', error: lost, retryMs: 2400 });
  assert.equal(shown.box.hidden, false);
  assert.match(shown.advice.textContent, /Trying again in 2 s…$/);
  notice.showState({ state: 'reconnecting', error: null, retryMs: null });
  assert.equal(shown.box.hidden, false);
  notice.showState({ state: 'live', error: null, retryMs: null });
  assert.equal(shown.box.hidden, true);
});

test('an error that ends the call promises nothing', () => {
  const shown = elements('box', 'title', 'advice');
  new Notice(shown).showState({ state: 'failed', error: new MicrophoneError('denied', ''), retryMs: null });
  assert.equal(shown.title.textContent, 'The microphone is blocked');
  assert.doesNotMatch(shown.advice.textContent, /Trying/);
  assert.ok(shown.box.classes.has('final'));
});

test('a warning goes away once it is not repeated', () => {
  const shown = elements('box', 'title', 'advice');
  const notice = new Notice(shown);
  notice.showWarning({ code: 'no_media' });
  mock.timers.tick(10_000);
  notice.showWarning({ code: 'no_media' });
  mock.timers.tick(10_000);
  assert.equal(shown.box.hidden, false);
  mock.timers.tick(2_000);
  assert.equal(shown.box.hidden, true);
});

test('a warning that was shown does not take an error with it', () => {
  const shown = elements('box', 'title', 'advice');
  const notice = new Notice(shown);
  notice.showWarning({ code: 'overloaded' });
  notice.showState({ state: 'reconnecting', error: lost, retryMs: 500 });
  mock.timers.tick(12_000);
  assert.equal(shown.box.hidden, false);
});

test('a warning for programs is not shown', () => {
  const shown = elements('box', 'title', 'advice');
  new Notice(shown).showWarning({ code: 'draining' });
  assert.equal(shown.box.hidden, true);
});

test('shares are of the speech, not of the call', () => {
  const voices = ['female', 'male', 'uncertain'];
  const [bars, figures] = [elements(...voices), elements(...voices)];
  const speech = new FakeElement();
  new Shares({ bars, figures, speech }).show(total);
  assert.equal(bars.female.properties['--share'], '0.75');
  assert.equal(figures.male.textContent, '25 % · 2.0 s');
  assert.equal(speech.textContent, '8.0 of 10.0 s');
});

test('the latency is the server’s and the way’s, smoothed', async () => {
  const element = new FakeElement();
  const readout = new LatencyReadout(element, { roundTripMs: async () => 30 });
  readout.clear();
  assert.equal(element.textContent, '–');
  readout.start();
  await new Promise(setImmediate);
  readout.add({ latency_ms: 20 });
  assert.equal(element.textContent, '50 ms');
  readout.add({ latency_ms: 60 });
  assert.equal(element.textContent, '55 ms');
  readout.stop();
});

test('a call that went live again asks for the way once at a time', async () => {
  let asked = 0;
  const readout = new LatencyReadout(new FakeElement(), {
    roundTripMs: async () => {
      asked += 1;
      return null;
    },
  });
  readout.start();
  readout.stop();
  readout.start();
  mock.timers.tick(2_000);
  assert.equal(asked, 3);
  readout.stop();
  mock.timers.tick(10_000);
  assert.equal(asked, 3);
});
