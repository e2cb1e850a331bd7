// voxgender inside a call that exists already. Each side has its own voice labelled and sends the label over the
// call's own data channel: what is classified is the voice before any codec or network has touched it, it is
// classified once however many people listen, and it is the speaker's own browser that decides to do so.

import { openMicrophone } from './microphone.js';
import { tap } from './tap.js';
import { TwoTabCall } from './two-tab-call.js';
import { explain } from './words.js';
import './voxgender-voice.js';

/** @typedef {import('./voxgender-voice.js').VoxgenderVoice} VoxgenderVoice */
/** @typedef {import('./messages.js').Result} Result */

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const mine = /** @type {VoxgenderVoice} */ (element('mine'));
const theirs = /** @type {VoxgenderVoice} */ (element('theirs'));
const speaker = /** @type {HTMLAudioElement} */ (element('speaker'));
const recording = /** @type {HTMLInputElement} */ (element('recording'));
const mute = /** @type {HTMLButtonElement} */ (element('mute'));

const address = new URLSearchParams(location.search);
const room = address.get('room') ?? 'demo';
const side = address.get('side') ?? `guest-${crypto.randomUUID()}`;

const token = new URLSearchParams(location.hash.slice(1)).get('token');
if (token) mine.setAttribute('token', token);

/**
 * What one side is in the call with.
 * @typedef {{call: TwoTabCall, track: MediaStreamTrack, voice: import('./tap.js').VoiceTap, end: () => void}} Part
 */
let part = /** @type {Part | null} */ (null);

async function join() {
  const { track, end } = await ownVoice();
  const call = new TwoTabCall(room, side, track);

  // This is all that it takes: tap the call's track, show the label, send it along.
  const voice = tap(track);
  mine.source = voice.track;
  part = { call, track, voice, end };

  call.addEventListener('note', (event) => theirs.show(/** @type {MessageEvent<Result>} */ (event).data));
  call.addEventListener('remote', () => showRemote(call.remote));
  showJoined();
}

mine.addEventListener('result', (event) => {
  const { label, confidence } = /** @type {CustomEvent<Result>} */ (event).detail;
  part?.call.note({ label, confidence });
});

function leave() {
  part?.call.hangUp();
  part?.voice.stop();
  part?.end();
  part = null;
  mine.source = null;
  showRemote(null);
  showJoined();
}

/** The microphone, or a recording played over and over. */
async function ownVoice() {
  const file = recording.files?.[0];
  if (!file) {
    const track = await openMicrophone();
    return { track, end: () => track.stop() };
  }
  const context = new AudioContext();
  const buffer = await context.decodeAudioData(await file.arrayBuffer());
  const player = new AudioBufferSourceNode(context, { buffer, loop: true });
  const output = context.createMediaStreamDestination();
  player.connect(output);
  player.start();
  const [track] = output.stream.getAudioTracks();
  return { track: /** @type {MediaStreamTrack} */ (track), end: () => void context.close() };
}

element('join').addEventListener('click', async () => {
  element('problem').hidden = true;
  if (part) return leave();
  try {
    await join();
  } catch (error) {
    const { title, advice } = explain(/** @type {Error} */ (error));
    element('problem').textContent = `${title}. ${advice}`;
    element('problem').hidden = false;
  }
});

// The call mutes itself as it always did; the tap follows.
mute.addEventListener('click', () => {
  if (!part) return;
  part.track.enabled = !part.track.enabled;
  showJoined();
});

recording.addEventListener('change', async () => {
  if (!part) return showJoined();
  leave();
  await join();
});

addEventListener('pagehide', () => part?.call.hangUp());

/** @param {MediaStream | null} stream */
function showRemote(stream) {
  speaker.srcObject = stream;
  if (!stream) theirs.show(null);
  element('their-hint').textContent = stream ? 'Labelled by their own browser.' : 'Nobody there yet.';
  element('status').textContent = stream ? 'In the call' : part ? 'Waiting for the other side' : 'Not in the call';
  document.body.dataset['state'] = stream ? 'live' : part ? 'connecting' : 'idle';
}

function showJoined() {
  const muted = part?.track.enabled === false;
  const voice = recording.files?.[0]?.name ?? 'your microphone';
  element('join').textContent = part ? 'Leave' : 'Join';
  mute.disabled = !part;
  mute.textContent = muted ? 'Unmute' : 'Mute';
  mute.setAttribute('aria-pressed', String(muted));
  element('my-hint').textContent = !part
    ? `Joins with ${voice}.`
    : muted
      ? 'Muted, here and for the label.'
      : `The call has ${voice}.`;
  showRemote(part?.call.remote ?? null);
}

const otherSide = new URLSearchParams({ room, side: side === 'b' ? 'a' : 'b' });
/** @type {HTMLAnchorElement} */ (element('other-tab')).href = `?${otherSide}${location.hash}`;
showJoined();
