// voxgender inside a call that exists already. Each member has their own voice labelled and sends the label over the
// call's own data channels: the voice is classified before any codec or network has touched it, once however many
// people listen, and by the decision of the speaker's own browser. (A page that has everybody's tracks, as behind an SFU,
// sends them as the voices of one room instead.)

import { VoxgenderError, openMicrophone, tap } from 'voxgender';
import 'voxgender/voxgender-voice.js';

import { byId, enablePage, write } from './dom.js';
import { GuestTile } from './guest-tile.js';
import { elementTexts, explainError, longestLabel, preferredLanguage, speakLanguage, words } from './language.js';
import { MeshCall, SEATS } from './mesh-call.js';
import { TokenForm } from './token-form.js';

/** @typedef {import('voxgender/voxgender-voice.js').VoxgenderVoice} VoxgenderVoice */
/** @typedef {import('./guest-tile.js').VoiceNote} VoiceNote */

/**
 * The track that a member is in the call with.
 * @typedef {{track: MediaStreamTrack, end: () => void}} OwnVoice
 */

/** One member's side of the call, and the page that shows it. */
class CallPage {
  #mine = /** @type {VoxgenderVoice} */ (byId('mine'));
  #joinButton = /** @type {HTMLButtonElement} */ (byId('join'));
  #muteButton = /** @type {HTMLButtonElement} */ (byId('mute'));
  #recordingField = /** @type {HTMLInputElement} */ (byId('recording'));
  #microphoneButton = /** @type {HTMLButtonElement} */ (byId('use-microphone'));
  #tokenForm = new TokenForm({ form: byId('token-form'), field: byId('token') }, (token) => {
    this.#mine.token = token;
    // Another source is another session, with this token.
    this.#mine.source = null;
    if (this.#part) this.#mine.source = this.#part.tap;
  });
  #room;
  /** @type {{call: MeshCall, voice: OwnVoice, tap: import('voxgender').VoiceTap} | null} */
  #part = null;
  #isMuted = false;
  /** The recording that the call has, or gets once the tab joins; null for the microphone. @type {File | null} */
  #recording = null;
  /** The reason why the own voice has no label. @type {import('voxgender').VoxgenderError | null} */
  #trouble = null;
  /** Tiles of the other members, by their seats. @type {Map<number, GuestTile>} */
  #tiles = new Map();
  #doing = Promise.resolve();
  /** Ends the waiting for a seat. */
  #waiting = new AbortController();

  /**
   * @param {string} room
   * @param {string | null} token of the voxgender server
   */
  constructor(room, token) {
    this.#room = room;
    if (token) this.#mine.token = token;
    this.#mine.texts = elementTexts();
    this.#mine.addEventListener('state', (event) => {
      const { state, error } = /** @type {CustomEvent<import('voxgender').StateChange>} */ (event).detail;
      this.#tokenForm.show(state === 'failed' && error?.code === 'unauthorized');
      this.#trouble = error;
      this.#note(null);
      this.#showMine();
    });
    this.#mine.addEventListener('result', (event) => {
      this.#note(/** @type {CustomEvent<import('voxgender').Result>} */ (event).detail);
    });
    this.#joinButton.addEventListener('click', () => this.#joinOrLeave());
    this.#muteButton.addEventListener('click', () => this.#toggleMute());
    this.#recordingField.addEventListener('change', () => this.#chooseRecording());
    this.#microphoneButton.addEventListener('click', () => this.#chooseMicrophone());
    addEventListener('pagehide', () => this.#part?.call.leave());
    // The browser kept the page, and shows it again.
    addEventListener('pageshow', ({ persisted }) => persisted && this.#leave());
    this.#show();
  }

  async #joinOrLeave() {
    if (this.#part) return this.#leave();
    if (this.#joinButton.ariaDisabled) return;
    this.#joinButton.ariaDisabled = 'true';
    this.#tell('');
    await this.#attempt(() => this.#join());
    this.#joinButton.ariaDisabled = null;
  }

  async #join() {
    // Browsers give insecure pages neither locks nor a microphone.
    if (!navigator.locks) throw new VoxgenderError('insecure_origin', 'The page is not secure');
    const call = await MeshCall.sit(this.#room);
    if (!call) return void this.#waitForSeat();
    /** @type {OwnVoice | null} */
    let voice = null;
    try {
      voice = await openVoice(this.#recording);
      await this.#enter(call, voice);
    } catch (error) {
      call.leave();
      voice?.end();
      if (isUnreadable(error)) this.#recording = null;
      throw error;
    }
  }

  /**
   * @param {MeshCall} call
   * @param {OwnVoice} voice
   */
  async #enter(call, voice) {
    call.addEventListener('guests', () => this.#show());
    call.addEventListener('note', (event) => {
      const { seat, note } = /** @type {CustomEvent<import('./mesh-call.js').Note>} */ (event).detail;
      this.#tiles.get(seat)?.show(/** @type {VoiceNote} */ (note));
    });
    await call.enter(voice.track);

    // This is all that it takes: tap the call's track, show the label, send it along.
    const listener = tap(() => this.#part?.voice.track ?? voice.track);
    this.#part = { call, voice, tap: listener };
    this.#mine.source = listener;
    this.#show();
  }

  #leave() {
    const part = this.#part;
    this.#part = null;
    this.#isMuted = false;
    part?.call.leave();
    part?.tap.stop();
    part?.voice.end();
    this.#mine.source = null;
    // A source that is taken away tells no further state.
    this.#trouble = null;
    this.#tokenForm.show(false);
    this.#show();
  }

  /** Say that the call is full, and when it is not any longer. */
  async #waitForSeat() {
    this.#tell(words().callFull(SEATS));
    this.#waiting = new AbortController();
    if (await MeshCall.seatIsFree(this.#room, this.#waiting.signal)) this.#tell(words().seatFree);
  }

  /** @param {string} news about the call; none hides it */
  #tell(news) {
    this.#waiting.abort();
    write(byId('news'), news);
    byId('news').hidden = !news;
  }

  /** The call mutes itself as it always did; the tap follows. */
  #toggleMute() {
    if (!this.#part) return;
    this.#isMuted = !this.#isMuted;
    this.#part.voice.track.enabled = !this.#isMuted;
    this.#part.tap.sync();
    this.#note(null);
    this.#showMine();
  }

  #chooseRecording() {
    const file = this.#recordingField.files?.[0];
    if (!file) return;
    // The same file can be chosen again then, which would be no change otherwise.
    this.#recordingField.value = '';
    this.#attempt(() => this.#changeVoice(file));
  }

  async #chooseMicrophone() {
    await this.#attempt(() => this.#changeVoice(null));
    // The focus stays where a person may choose anew; a button that hides loses it.
    if (this.#microphoneButton.hidden) this.#recordingField.focus();
  }

  /**
   * Let the call go on with another track, and the tap too. One that cannot be had changes nothing.
   * @param {File | null} recording null for the microphone
   */
  async #changeVoice(recording) {
    const part = this.#part;
    const voice = part && (await openVoice(recording));
    this.#recording = recording;
    if (!voice) return;
    if (this.#part !== part) return voice.end();
    const before = part.voice;
    voice.track.enabled = !this.#isMuted;
    part.voice = voice;
    try {
      await part.call.replaceTrack(voice.track);
    } finally {
      part.tap.sync();
      before.end();
    }
  }

  /**
   * Do what takes a moment, after what was begun before, and say what stands against it.
   * @param {() => Promise<void>} work
   */
  async #attempt(work) {
    byId('problem').hidden = true;
    try {
      await (this.#doing = this.#doing.catch(() => {}).then(work));
    } catch (error) {
      const { code, message } = /** @type {import('voxgender').VoxgenderError} */ (error);
      const unreadable = { title: words().unreadable, advice: words().unreadableAdvice };
      const { title, advice } = code === 'unreadable' ? unreadable : explainError({ code, message });
      byId('problem').textContent = `${title}. ${advice}`;
      byId('problem').hidden = false;
    }
    this.#showMine();
  }

  /**
   * Tell the others how the own voice is heard now.
   * @param {Pick<import('voxgender').Result, 'label' | 'confidence'> | null} result
   */
  #note(result) {
    const { label = null, confidence = 0 } = result ?? {};
    /** @satisfies {VoiceNote} */
    const note = { label, confidence, isMuted: this.#isMuted };
    this.#part?.call.note(note);
    byId('my-tile').dataset['label'] = label ?? '';
  }

  #show() {
    this.#showGuests();
    this.#showMine();
  }

  #showGuests() {
    const guests = this.#part?.call.guests ?? [];
    const present = new Set(guests.map(({ seat }) => seat));
    for (const [seat, tile] of this.#tiles) {
      if (present.has(seat)) continue;
      tile.remove();
      this.#tiles.delete(seat);
    }
    const template = /** @type {HTMLTemplateElement} */ (byId('guest-template'));
    for (const { seat, stream } of guests) {
      const tile = this.#tiles.get(seat) ?? new GuestTile(template, seat);
      tile.hear(stream);
      if (this.#tiles.has(seat)) continue;
      this.#tiles.set(seat, tile);
      const others = [.../** @type {NodeListOf<HTMLElement>} */ (byId('tiles').querySelectorAll('[data-seat]'))];
      const next = others.find((other) => Number(other.dataset['seat']) > seat);
      byId('tiles').insertBefore(tile.element, next ?? byId('nobody'));
    }
    byId('nobody').hidden = guests.length > 0;
    byId('tiles').dataset['count'] = String(1 + Math.max(1, guests.length));
    byId('other-tab').hidden = guests.length + 1 >= SEATS;
    const alone = this.#part ? words().waitingForOthers : words().notInCall;
    const together = `${words().inTheCall} · ${words().countOf(guests.length + 1, SEATS)}`;
    write(byId('status'), guests.length ? together : alone);
    document.body.dataset['state'] = guests.length ? 'live' : this.#part ? 'connecting' : 'idle';
  }

  #showMine() {
    this.#joinButton.textContent = this.#part ? words().leave : words().join;
    this.#microphoneButton.hidden = !this.#recording;
    this.#muteButton.disabled = !this.#part;
    this.#muteButton.textContent = this.#isMuted ? words().unmute : words().mute;
    this.#muteButton.classList.toggle('muted', this.#isMuted);
    write(byId('my-name'), this.#isMuted ? words().mutedName(words().you) : words().you);
    const trouble = this.#trouble && explainError(this.#trouble);
    // The tile has the title in large letters already.
    write(byId('my-trouble'), trouble ? `${trouble.title}. ` : '');
    write(byId('my-hint'), trouble ? trouble.advice : this.#hint());
    if (!this.#part) byId('my-tile').dataset['label'] = '';
  }

  #hint() {
    const name = this.#recording?.name;
    if (!this.#part) return name ? words().joinsWith(name) : words().joinsWithMicrophone;
    if (this.#isMuted) return words().nobodyHearsYou;
    return name ? words().callHas(name) : words().callHasMicrophone;
  }
}

/**
 * @param {File | null} recording
 * @returns {Promise<OwnVoice>} the recording played over and over; the microphone where there is none
 */
async function openVoice(recording) {
  if (!recording) {
    const track = await openMicrophone();
    return { track, end: () => track.stop() };
  }
  const context = new AudioContext();
  try {
    const buffer = await context.decodeAudioData(await recording.arrayBuffer());
    const player = new AudioBufferSourceNode(context, { buffer, loop: true });
    const output = context.createMediaStreamDestination();
    player.connect(output);
    player.start();
    const [track] = output.stream.getAudioTracks();
    return { track: /** @type {MediaStreamTrack} */ (track), end: () => void context.close() };
  } catch (error) {
    await context.close();
    // No sound that the browser knows, or a file that is gone since.
    if (!(error instanceof DOMException)) throw error;
    throw new VoxgenderError('unreadable', 'The recording cannot be played', { cause: error });
  }
}

/** @param {unknown} error */
function isUnreadable(error) {
  return error instanceof VoxgenderError && error.code === 'unreadable';
}

const room = new URLSearchParams(location.search).get('room') ?? 'demo';
/** @type {HTMLAnchorElement} */ (byId('other-tab')).href = `?${new URLSearchParams({ room })}${location.hash}`;

await speakLanguage(preferredLanguage());
byId('tiles').style.setProperty('--letters', String(longestLabel()));
new CallPage(room, new URLSearchParams(location.hash.slice(1)).get('token'));
enablePage();
