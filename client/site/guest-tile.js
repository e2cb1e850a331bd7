import { write } from './dom.js';
import { elementTexts, words } from './language.js';

/** @typedef {import('voxgender/voxgender-voice.js').VoxgenderVoice} VoxgenderVoice */
/** @typedef {import('voxgender').Label} Label */

/**
 * A member's note for the others, with each result of their own voice.
 * @typedef {{label: Label | null, confidence: number, isMuted: boolean}} VoiceNote
 */

/** A label that is not said again within this time is not shown any longer: notes come several times a second. */
const STALE_MS = 2_500;

/** The tile of another member: heard, with the label that their own browser sends. */
export class GuestTile {
  #element;
  #seat;
  #name;
  #voice;
  #speaker;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {HTMLTemplateElement} template
   * @param {number} seat
   */
  constructor(template, seat) {
    const element = /** @type {HTMLElement} */ (document.importNode(template.content, true).firstElementChild);
    this.#element = element;
    this.#seat = seat;
    this.#name = /** @type {HTMLElement} */ (element.querySelector('h2'));
    this.#voice = /** @type {VoxgenderVoice} */ (element.querySelector('voxgender-voice'));
    this.#speaker = /** @type {HTMLAudioElement} */ (element.querySelector('audio'));
    element.dataset['seat'] = String(seat);
    this.#name.id = `guest-${seat}`;
    element.setAttribute('aria-labelledby', this.#name.id);
    this.#voice.texts = elementTexts();
    /** @type {HTMLElement} */ (element.querySelector('.hint')).textContent = words().labelledByTheirs;
    this.#write({ label: null, confidence: 0, isMuted: false });
  }

  get element() {
    return this.#element;
  }

  /** @param {MediaStream} stream */
  hear(stream) {
    if (this.#speaker.srcObject !== stream) this.#speaker.srcObject = stream;
  }

  /** @param {VoiceNote} note */
  show(note) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#write({ ...note, label: null }), STALE_MS);
    this.#write(note);
  }

  remove() {
    clearTimeout(this.#timer);
    this.#speaker.srcObject = null;
    this.#element.remove();
  }

  /** @param {VoiceNote} note */
  #write({ label, confidence, isMuted }) {
    const name = words().guest(this.#seat);
    write(this.#name, isMuted ? words().mutedName(name) : name);
    this.#voice.show(label ? { label, confidence } : null);
    this.#element.dataset['label'] = label ?? '';
  }
}
