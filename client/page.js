import { LevelMeter } from './level-meter.js';
import { listMicrophones } from './microphone.js';
import { Stretches } from './stretches.js';
import { Tally } from './tally.js';
import { Timeline } from './timeline.js';
import { VoxgenderClient } from './voxgender-client.js';
import { LABEL_WORDS, explain } from './words.js';

/** @typedef {import('./messages.js').Result} Result */
/** @typedef {import('./messages.js').Summary} Summary */
/** @typedef {import('./voxgender-client.js').StateChange} StateChange */

/** A label is read out once it has lasted this long: not every syllable, but every voice. */
const ANNOUNCE_AFTER_MS = 800;
const ROUND_TRIP_EVERY_MS = 2_000;
const CALM_FRAME_MS = 1_000;

const STATE_WORDS = {
  idle: 'Ready',
  'requesting-microphone': 'Waiting for the microphone',
  connecting: 'Connecting',
  live: 'Live',
  reconnecting: 'Reconnecting',
  stopped: 'Stopped',
  failed: 'Stopped',
};
const HEADLINES = {
  idle: 'Press Start and speak',
  'requesting-microphone': 'Allow the microphone',
  connecting: 'Connecting…',
  live: 'Listening…',
  reconnecting: 'Reconnecting…',
  stopped: 'Stopped',
  failed: 'Stopped',
};

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const now = /** @type {HTMLElement} */ (document.querySelector('.now'));
const toggle = element('toggle');
const picker = /** @type {HTMLSelectElement} */ (element('microphone'));
const stream = element('stream');

const timeline = new Timeline(/** @type {HTMLCanvasElement} */ (element('timeline')));
const client = new VoxgenderClient(new URL('../whip', import.meta.url), {
  token: ofAddress('token'),
  iceTransportPolicy: ofAddress('relay') === 'only' ? 'relay' : 'all',
});
const calm = matchMedia('(prefers-reduced-motion: reduce)');

let meter = /** @type {LevelMeter | null} */ (null);
let stretches = new Stretches();
let tally = new Tally();
/** When the call went live, on the page's clock. */
let origin_ms = 0;
/** What to add to a session's times to get the page's; a session begun after a loss starts from 0 again. */
let offset_s = Infinity;
let hop_s = 0.2;
let lastEnd_s = 0;
let roundTrip_ms = 0;
let latency_ms = 0;
let ticking = 0;
let summary = /** @type {Summary | null} */ (null);

// The one button

toggle.addEventListener('click', () => {
  if (isRunning()) client.stop();
  else begin();
});

function begin() {
  stretches = new Stretches();
  tally = new Tally();
  summary = null;
  origin_ms = 0;
  latency_ms = 0;
  stream.replaceChildren();
  timeline.clear();
  showShares(tally.total());
  element('latency').textContent = '–';
  client.start().catch(() => {});
}

function isRunning() {
  return !['idle', 'stopped', 'failed'].includes(client.state);
}

// What the client says

client.addEventListener('state', ({ detail }) => {
  showState(detail);
  if (detail.state === 'live') {
    origin_ms ||= performance.now();
    listMicrophonesByName();
    showRoundTrip();
  }
  if (!isRunning()) freeze();
});

client.addEventListener('track', ({ detail }) => {
  meter ??= new LevelMeter();
  meter.listenTo(detail);
  if (!ticking) tick();
  listMicrophonesByName();
});

client.addEventListener('hello', ({ detail }) => {
  tally.observe(detail);
  offset_s = Infinity;
  lastEnd_s = detail.from ?? 0;
  hop_s = detail.hop_ms / 1000;
});

client.addEventListener('result', ({ detail }) => {
  // The way here takes longer at times; the quickest result knows best when its audio was.
  offset_s = Math.min(offset_s, clock_s() - detail.end);
  tally.observe(detail);
  showVoice(detail);
  showStretch(detail);
  showShares(tally.total());
  const reach_s = Math.max(lastEnd_s, detail.end - 4 * hop_s);
  timeline.addVoice(reach_s + offset_s, detail.end + offset_s, detail.label, detail.confidence);
  lastEnd_s = detail.end;
  latency_ms = latency_ms ? latency_ms + (detail.latency_ms - latency_ms) / 8 : detail.latency_ms;
  element('latency').textContent = `${Math.round(latency_ms + roundTrip_ms)} ms`;
});

client.addEventListener('warning', ({ detail }) => {
  if (detail.code === 'overloaded') notify('The server is busy', 'Some moments of your voice are not being classified.');
});

client.addEventListener('summary', ({ detail }) => {
  showShares(detail);
  summary = detail;
});

// What is shown

/** @param {StateChange} change */
function showState({ state, error, retry_ms }) {
  document.body.dataset['state'] = state;
  document.body.classList.toggle('running', isRunning());
  element('action').textContent = isRunning() ? 'Stop' : 'Start';
  element('status').textContent = STATE_WORDS[state];
    if (state !== 'live' || !now.dataset['label']) {
    delete now.dataset['label'];
    const over = state === 'stopped' && summary?.duration ? summary : null;
    element('eyebrow').textContent = over ? 'Summary' : 'Live voice';
    element('word').textContent = over ? headline(over) : HEADLINES[state];
    element('sure').textContent = over ? `${over.speech.toFixed(1)} s of speech in ${over.duration.toFixed(1)} s` : '';
  }
  if (!error) {
    // While a new try runs, the reason for it stays readable.
    if (state !== 'reconnecting') element('notice').hidden = true;
    return;
  }
  const { title, advice } = explain(error);
  const retry = retry_ms === null ? 'Trying again…' : `Trying again in ${Math.max(1, Math.round(retry_ms / 1000))} s…`;
  notify(title, error.heals ? `${advice} ${retry}` : advice, !error.heals);
}

/**
 * @param {string} title
 * @param {string} advice
 * @param {boolean} [final]
 */
function notify(title, advice, final = false) {
  const notice = element('notice');
  notice.classList.toggle('final', final);
  notice.hidden = false;
  write('notice-title', title);
  write('notice-advice', advice);
}

/** @param {Result} result */
function showVoice({ label, confidence }) {
  if (now.dataset['label'] !== label) announce(label);
  now.dataset['label'] = label;
  element('eyebrow').textContent = 'Heard now';
  write('word', LABEL_WORDS[label]);
  const isVoice = label === 'male' || label === 'female';
  const instead = label === 'uncertain' ? 'It could be either' : 'Waiting for a voice';
  element('sure').textContent = isVoice ? `${percent(confidence)} sure` : instead;
  element('bar').style.setProperty('--confidence', String(isVoice ? confidence : 0));
}

/** @param {Result} result */
function showStretch({ end, label, confidence }) {
  const { stretch, isNew } = stretches.add(end + offset_s, label, confidence);
  const line = isNew ? newLine(label, stretch.start) : stream.firstElementChild;
  const [length, sure] = line?.querySelectorAll('.length, .confidence') ?? [];
  if (!length || !sure) return;
  length.textContent = `${(stretch.end - stretch.start).toFixed(1)} s`;
  sure.textContent = percent(stretch.confidence);
}

/**
 * @param {Result['label']} label
 * @param {number} at_s
 */
function newLine(label, at_s) {
  const line = document.createElement('li');
  line.className = label;
  for (const [name, text] of [
    ['time', minutes(at_s)],
    ['mark', ''],
    ['label', LABEL_WORDS[label]],
    ['length', ''],
    ['confidence', ''],
  ]) {
    const part = document.createElement('span');
    part.className = name ?? '';
    part.textContent = text ?? '';
    line.append(part);
  }
  stream.prepend(line);
  if (stream.children.length > stretches.all.length) stream.lastElementChild?.remove();
  return line;
}

/** @param {Summary} summary */
function showShares(summary) {
  for (const label of /** @type {const} */ (['female', 'male', 'uncertain'])) {
    const share = summary.speech ? summary[label] / summary.speech : 0;
    const bar = /** @type {HTMLElement} */ (document.querySelector(`#shares .${label}`));
    bar.style.setProperty('--share', String(share));
    write(`share-${label}`, summary.speech ? `${percent(share)} · ${summary[label].toFixed(1)} s` : '–');
  }
  write('speech', summary.duration ? `${summary.speech.toFixed(1)} of ${summary.duration.toFixed(1)} s` : '–');
}

let announcing = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined);

/** @param {Result['label']} label */
function announce(label) {
  clearTimeout(announcing);
  announcing = setTimeout(() => write('announcer', LABEL_WORDS[label]), ANNOUNCE_AFTER_MS);
}

async function showRoundTrip() {
  while (client.state === 'live') {
    roundTrip_ms = (await client.roundTrip_ms()) ?? roundTrip_ms;
    await new Promise((resolve) => setTimeout(resolve, ROUND_TRIP_EVERY_MS));
  }
}

// What moves: the level and the timeline

function tick() {
  ticking = calm.matches ? setTimeout(tick, CALM_FRAME_MS) : requestAnimationFrame(tick);
  const level = meter?.read() ?? 0;
  element('level').style.setProperty('--level', level.toFixed(3));
  timeline.addLevel(clock_s(), level);
  timeline.draw(clock_s());
}

function freeze() {
  clearTimeout(ticking);
  cancelAnimationFrame(ticking);
  clearTimeout(announcing);
  ticking = 0;
  meter?.close();
  meter = null;
  element('level').style.setProperty('--level', '0');
  timeline.draw(clock_s());
  const { female, male, uncertain } = timeline.seconds();
  element('timeline').setAttribute(
    'aria-label',
    `The last minute: female ${Math.round(female)} seconds, male ${Math.round(male)}, uncertain ${Math.round(uncertain)}`,
  );
}

// The microphones

picker.addEventListener('change', async () => {
  try {
    await client.useMicrophone(picker.value || null);
  } catch (error) {
    const { title, advice } = explain(/** @type {Error} */ (error));
    notify(title, advice, true);
  }
  listMicrophonesByName();
});
navigator.mediaDevices?.addEventListener('devicechange', () => listMicrophonesByName());

async function listMicrophonesByName() {
  const microphones = await listMicrophones();
  const options = microphones.map(({ deviceId, label }, index) => new Option(label || `Microphone ${index + 1}`, deviceId));
  picker.replaceChildren(...(options.length ? options : [new Option('Default', '')]));
  const inUse = client.track?.getSettings().deviceId;
  if (inUse && microphones.some(({ deviceId }) => deviceId === inUse)) picker.value = inUse;
}

// Small things

/** Seconds since the call went live. */
function clock_s() {
  return origin_ms ? (performance.now() - origin_ms) / 1000 : 0;
}

/**
 * @param {string} id
 * @param {string} text written only where it differs, so that screen readers hear it once
 */
function write(id, text) {
  const target = element(id);
  if (target.textContent !== text) target.textContent = text;
}

/** @param {Summary} summary */
function headline({ speech, female, male }) {
  if (!speech) return 'No speech heard';
  const shares = /** @type {[number, string][]} */ ([[female, 'female'], [male, 'male']]);
  return shares
    .filter(([seconds]) => seconds > 0)
    .sort(([a], [b]) => b - a)
    .map(([seconds, word]) => `${percent(seconds / speech)} ${word}`)
    .join(', ') || 'Uncertain';
}

/** @param {number} share */
function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/** @param {number} seconds */
function minutes(seconds) {
  const tenths = Math.max(0, Math.round(seconds * 10));
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, '0');
  return `${Math.floor(tenths / 600)}:${rest}`;
}

/**
 * A server with a token is opened as `…/#token=…`; what stands after `#` is never sent to any server. `relay=only` goes by
 * the server's TURN server alone, to see whether that works.
 * @param {string} name
 */
function ofAddress(name) {
  return new URLSearchParams(location.hash.slice(1)).get(name);
}

listMicrophonesByName();
