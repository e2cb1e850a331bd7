// The page: one client, and the parts that show what it says.

import { VoxgenderClient } from 'voxgender';

import { Announcer } from './announcer.js';
import { CallClock } from './call-clock.js';
import { byId, write } from './dom.js';
import { LatencyReadout } from './latency-readout.js';
import { LiveTimeline } from './live-timeline.js';
import { MicrophonePicker } from './microphone-picker.js';
import { Notice } from './notice.js';
import { Shares } from './shares.js';
import { STATUS_WORDS, TRANSPORT_WORDS, isRunning } from './state-words.js';
import { TextStream } from './text-stream.js';
import { VoicePanel } from './voice-panel.js';

/**
 * A server with a token is opened as `…/#token=…`; no browser sends the part after `#` to any server. `relay=only` goes
 * by the server's TURN server alone, `transport=websocket` with no WebRTC, to see whether that works.
 */
const fragment = new URLSearchParams(location.hash.slice(1));

const client = new VoxgenderClient(new URL('../whip', import.meta.url), {
  token: fragment.get('token'),
  iceTransportPolicy: fragment.get('relay') === 'only' ? 'relay' : 'all',
  transport: fragment.get('transport') === 'websocket' ? 'websocket' : 'auto',
});

const clock = new CallClock();
const voice = new VoicePanel({
  panel: byId('now'),
  eyebrow: byId('eyebrow'),
  word: byId('word'),
  sure: byId('sure'),
  bar: byId('bar'),
});
const announcer = new Announcer(byId('announcer'));
const notice = new Notice({ box: byId('notice'), title: byId('notice-title'), advice: byId('notice-advice') });
const timeline = new LiveTimeline({ canvas: byId('timeline'), level: byId('level'), clock });
const stream = new TextStream(byId('stream'));
const shares = new Shares({
  bars: { female: byId('bar-female'), male: byId('bar-male'), uncertain: byId('bar-uncertain') },
  figures: { female: byId('share-female'), male: byId('share-male'), uncertain: byId('share-uncertain') },
  speech: byId('speech'),
  bar: byId('shares'),
  list: byId('figures'),
});
const latency = new LatencyReadout(byId('latency'), client);
const picker = new MicrophonePicker(byId('microphone'), client, (error) => notice.showError(error));

byId('toggle').addEventListener('click', () => {
  if (isRunning(client.state)) client.stop();
  else begin();
});

function begin() {
  clock.reset();
  timeline.clear();
  stream.clear();
  latency.clear();
  write(byId('transport'), '–');
  // The `state` event tells of a start that fails.
  client.start().catch(() => {});
}

client.addEventListener('state', ({ detail }) => {
  const { state, transport } = detail;
  const running = isRunning(state);
  document.body.dataset['state'] = state;
  document.body.classList.toggle('running', running);
  byId('action').textContent = running ? 'Stop' : 'Start';
  byId('status').textContent = STATUS_WORDS[state];
  voice.showState(state, client.total);
  shares.show(client.total);
  if (transport) write(byId('transport'), TRANSPORT_WORDS[transport]);
  notice.showState(detail);
  if (state === 'live') {
    clock.start();
    latency.start();
    picker.refresh();
  } else {
    latency.stop();
    announcer.stop();
  }
  if (!running) timeline.freeze();
});

client.addEventListener('track', ({ detail }) => {
  timeline.listenTo(detail);
  picker.refresh();
});

client.addEventListener('session', ({ detail }) => {
  clock.startSession();
  timeline.startSession(detail);
  const { labels = [] } = detail.hello;
  shares.showLabels(labels);
  byId('key').hidden = !(labels.includes('male') && labels.includes('female'));
});

client.addEventListener('result', ({ detail }) => {
  clock.observe(detail.end);
  voice.showResult(detail);
  announcer.hear(detail.label);
  stream.add(detail, clock.place(detail.end));
  timeline.add(detail);
  latency.add(detail);
  shares.show(client.total);
});

client.addEventListener('warning', ({ detail }) => {
  notice.showWarning(detail);
  if (detail.code === 'low_level') timeline.sayTooQuiet();
});
client.addEventListener('input', ({ detail }) => notice.showInput(detail));

picker.refresh();
