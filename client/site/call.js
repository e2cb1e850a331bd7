// voxgender inside a call that exists already. Each side has its own voice labelled and sends the label over the
// call's own data channel: the voice is classified before any codec or network has touched it, once however many
// people listen, and by the decision of the speaker's own browser.

import { openMicrophone, tap } from 'voxgender';
import 'voxgender/voxgender-voice.js';

import { byId } from './dom.js';
import { elementTexts, explainError, preferredLanguage, speakLanguage, words } from './language.js';
import { TokenForm } from './token-form.js';
import { TwoTabCall } from './two-tab-call.js';

/** @typedef {import('voxgender/voxgender-voice.js').VoxgenderVoice} VoxgenderVoice */
/** @typedef {import('voxgender').Result} Result */

/**
 * The track that one side is in the call with.
 * @typedef {{track: MediaStreamTrack, end: () => void}} OwnVoice
 */

/** One side of the call, and the page that shows it. */
class CallPage {
  #mine = /** @type {VoxgenderVoice} */ (byId('mine'));
  #theirs = /** @type {VoxgenderVoice} */ (byId('theirs'));
  #speaker = /** @type {HTMLAudioElement} */ (byId('speaker'));
  #recording = /** @type {HTMLInputElement} */ (byId('recording'));
  #tokenForm = new TokenForm({ form: byId('token-form'), field: byId('token') }, (token) => {
    this.#mine.token = token;
    // Another source is another session, with this token.
    this.#mine.source = null;
    if (this.#part) this.#mine.source = this.#part.tap;
  });
  #mute = /** @type {HTMLButtonElement} */ (byId('mute'));
  #room;
  #side;
  /** @type {(OwnVoice & {call: TwoTabCall, tap: import('voxgender').VoiceTap}) | null} */
  #part = null;

  /**
   * @param {string} room
   * @param {string} side
   * @param {string | null} token of the voxgender server
   */
  constructor(room, side, token) {
    this.#room = room;
    this.#side = side;
    if (token) this.#mine.token = token;
    this.#mine.texts = this.#theirs.texts = elementTexts();
    this.#mine.addEventListener('state', (event) => {
      const { state, error } = /** @type {CustomEvent<import('voxgender').StateChange>} */ (event).detail;
      this.#tokenForm.show(state === 'failed' && error?.code === 'unauthorized');
    });
    this.#mine.addEventListener('result', (event) => {
      const { label, confidence } = /** @type {CustomEvent<Result>} */ (event).detail;
      this.#part?.call.note({ label, confidence });
    });
    byId('join').addEventListener('click', () => this.#joinOrLeave());
    this.#mute.addEventListener('click', () => this.#toggleMute());
    this.#recording.addEventListener('change', () => this.#changeVoice());
    addEventListener('pagehide', () => this.#part?.call.hangUp());
    this.#show();
  }

  async #join() {
    const { track, end } = await this.#ownVoice();
    const call = new TwoTabCall(this.#room, this.#side, track);

    // This is all that it takes: tap the call's track, show the label, send it along.
    const voice = tap(track);
    this.#mine.source = voice;
    this.#part = { call, track, tap: voice, end };

    call.addEventListener('note', (event) => this.#theirs.show(/** @type {MessageEvent<Result>} */ (event).data));
    call.addEventListener('remote', () => this.#showRemote(call.remote));
    this.#show();
  }

  #leave() {
    this.#part?.call.hangUp();
    this.#part?.tap.stop();
    this.#part?.end();
    this.#part = null;
    this.#mine.source = null;
    this.#show();
  }

  async #joinOrLeave() {
    byId('problem').hidden = true;
    if (this.#part) return this.#leave();
    try {
      await this.#join();
    } catch (error) {
      const { title, advice } = explainError(/** @type {Error} */ (error));
      byId('problem').textContent = `${title}. ${advice}`;
      byId('problem').hidden = false;
    }
  }

  /** The call mutes itself as it always did; the tap follows. */
  #toggleMute() {
    if (!this.#part) return;
    this.#part.track.enabled = !this.#part.track.enabled;
    this.#show();
  }

  async #changeVoice() {
    if (!this.#part) return this.#show();
    this.#leave();
    await this.#joinOrLeave();
  }

  /** @returns {Promise<OwnVoice>} the microphone, or a recording played over and over */
  async #ownVoice() {
    const file = this.#recording.files?.[0];
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

  /** @param {MediaStream | null} stream */
  #showRemote(stream) {
    this.#speaker.srcObject = stream;
    if (!stream) this.#theirs.show(null);
    byId('their-hint').textContent = stream ? words().labelledByTheirs : words().nobodyThere;
    const alone = this.#part ? words().waitingForOther : words().notInCall;
    byId('status').textContent = stream ? words().inTheCall : alone;
    document.body.dataset['state'] = stream ? 'live' : this.#part ? 'connecting' : 'idle';
  }

  #show() {
    const part = this.#part;
    const muted = part?.track.enabled === false;
    byId('join').textContent = part ? words().leave : words().join;
    this.#mute.disabled = !part;
    this.#mute.textContent = muted ? words().unmute : words().mute;
    this.#mute.classList.toggle('muted', muted);
    byId('my-name').textContent = muted ? words().youMuted : words().you;
    byId('my-hint').textContent = this.#hint(muted);
    this.#showRemote(part?.call.remote ?? null);
  }

  /** @param {boolean} muted */
  #hint(muted) {
    const name = this.#recording.files?.[0]?.name;
    if (!this.#part) return name ? words().joinsWith(name) : words().joinsWithMicrophone;
    if (muted) return words().nobodyHearsYou;
    return name ? words().callHas(name) : words().callHasMicrophone;
  }
}

const address = new URLSearchParams(location.search);
const room = address.get('room') ?? 'demo';
const side = address.get('side') ?? `guest-${crypto.randomUUID()}`;
const otherSide = new URLSearchParams({ room, side: side === 'b' ? 'a' : 'b' });
/** @type {HTMLAnchorElement} */ (byId('other-tab')).href = `?${otherSide}${location.hash}`;

await speakLanguage(preferredLanguage());
new CallPage(room, side, new URLSearchParams(location.hash.slice(1)).get('token'));
