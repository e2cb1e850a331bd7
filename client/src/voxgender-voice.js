import { isCommon, labelColour, labelWord } from './labels.js';
import { explain } from './words.js';
import { ClientEvent } from './events.js';
import { VoxgenderClient } from './voxgender-client.js';

/** @typedef {import('./message-types.js').Label} Label */
/** @typedef {import('./voxgender-client.js').Token} Token */
/**
 * Texts of the element, in another language than English.
 * @typedef {object} Texts
 * @property {(label: Label) => string} label
 * @property {(error: Error) => {title: string}} explain
 * @property {string} connecting
 * @property {string} listening
 */
/** @typedef {MediaStream | MediaStreamTrack | import('./tap.js').VoiceTap | null} Source */

const STYLE = `
  :host {
    --_male: var(--voxgender-male, #b45309);
    --_female: var(--voxgender-female, #0b7a75);
    --_quiet: var(--voxgender-quiet, #6b6e73);
    display: inline-flex; align-items: center; gap: .5em;
    font: inherit; line-height: 1.2; color: inherit; white-space: nowrap;
  }
  :host([hidden]) { display: none; }
  @media (prefers-color-scheme: dark) {
    :host {
      --_male: var(--voxgender-male, #f2b04b);
      --_female: var(--voxgender-female, #3fd0c4);
      --_quiet: var(--voxgender-quiet, #a2a6aa);
    }
  }
  .mark { position: relative; width: .5em; height: 1em; border-radius: .25em; overflow: hidden; flex: none;
          background: color-mix(in srgb, currentColor 16%, transparent); }
  .mark::after { content: ''; position: absolute; inset: 100% 0 0 0; background: var(--_ink, var(--_quiet));
                 transition: inset .2s; }
  .word { font-weight: 600; color: var(--_ink, var(--_quiet)); }
  .confidence { font-variant-numeric: tabular-nums; opacity: .8; }
  :host([data-label=female]) { --_ink: var(--_female); }
  :host([data-label=male]) { --_ink: var(--_male); }
  :host([data-label=female]) .mark::after { inset: 0 0 50% 0; }
  :host([data-label=male]) .mark::after { inset: 50% 0 0 0; }
  :host(.own) { --_ink: var(--voxgender-other, var(--_own)); }
  :host(.own) .mark::after { inset: 0; }
  :host([data-label=uncertain]) .mark::after { inset: 38% 0 38% 0; }
  @media (prefers-reduced-motion: reduce) { .mark::after { transition: none; } }
`;

/** Made once, by the first element: a page that allows no styles from scripts allows this (CSP `style-src`). */
const style = {
  /** @type {CSSStyleSheet | null} */
  sheet: null,
};

/**
 * Servers that render pages import this module too. They have no elements, and none is defined there.
 * @type {typeof HTMLElement}
 */
const Base = globalThis.HTMLElement ?? class {};

/** Set on an element before its class was there, they are taken over by it. */
const PROPERTIES = /** @type {const} */ (['texts', 'token', 'source']);

/** @type {Texts} */
const ENGLISH = { label: labelWord, explain, connecting: 'Connecting…', listening: 'Listening…' };

/**
 * `<voxgender-voice>`: the label of a voice, now.
 *
 *     <voxgender-voice endpoint="https://voice.example/whip"></voxgender-voice>
 *     element.source = track;      // analyses it, or a tap of a call, for as long as the element is on the page
 *     element.show(result);        // or shows a result that came another way
 *
 * Attributes `endpoint`, `token`, `transport` and `ice-transport-policy` (`relay` for TURN servers alone) count from the next
 * `source` on, and so does the property `token`: a function that gives one, for tokens that expire. The property `texts`
 * has its words in another language. Screen readers tell each label, unless the page says `aria-live="off"`, as one with
 * several voices does. Repeats the client's `state` and `result` events, and has the label as `data-label` and the transport
 * as `data-transport`. Colours are `--voxgender-male`, `--voxgender-female`, `--voxgender-quiet` and, for a model’s further
 * labels, `--voxgender-other`; parts are `mark`, `word` and `confidence`.
 */
export class VoxgenderVoice extends Base {
  static observedAttributes = ['endpoint'];
  /** @type {Source} */
  #source = null;
  /** @type {VoxgenderClient | null} */
  #client = null;
  #word;
  #confidence;
  /** @type {Token} */
  #token = null;
  #texts = ENGLISH;

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    root.adoptedStyleSheets = [sharedSheet()];
    this.#word = part('word');
    this.#word.setAttribute('role', 'status');
    this.#confidence = part('confidence');
    this.#confidence.setAttribute('aria-hidden', 'true');
    root.append(part('mark'), this.#word, this.#confidence);
    for (const name of PROPERTIES) {
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      delete this[name];
      Object.assign(this, { [name]: value });
    }
  }

  /** Its texts, in English unless others were set. */
  get texts() {
    return this.#texts;
  }

  set texts(texts) {
    this.#texts = texts;
  }

  /** A token for the server, or a function that gives one. Where this is null, the attribute counts. */
  get token() {
    return this.#token;
  }

  set token(token) {
    this.#token = token;
  }

  /** The track, stream or tap that is analysed, if any. */
  get source() {
    return this.#source;
  }

  set source(source) {
    if (source === this.#source) return;
    this.#source = source;
    this.#leave();
    this.#listen();
  }

  connectedCallback() {
    // The role counts for more than the attribute of the element around it.
    if (this.ariaLive === 'off') this.#word.removeAttribute('role');
    this.#listen();
  }

  /** Frameworks set the source before the endpoint as often as after it. */
  attributeChangedCallback() {
    this.#listen();
  }

  disconnectedCallback() {
    this.#leave();
  }

  /** @param {{label: Label, confidence: number} | null} result null for nothing to show */
  show(result) {
    this.#write(
      result?.label ?? null,
      result ? this.#texts.label(result.label) : '',
      result && result.label !== 'no_speech' ? `${Math.round(result.confidence * 100)} %` : '',
    );
  }

  #listen() {
    if (this.#client || !this.#source || !this.isConnected) return;
    const endpoint = this.getAttribute('endpoint');
    if (!endpoint) {
      console.warn('<voxgender-voice> listens once it has the attribute endpoint, a WHIP address');
      return;
    }
    const client = new VoxgenderClient(endpoint, {
      token: this.token ?? this.getAttribute('token'),
      iceTransportPolicy: this.getAttribute('ice-transport-policy') === 'relay' ? 'relay' : 'all',
      transport: transportOf(this.getAttribute('transport')),
    });
    this.#client = client;
    client.addEventListener('result', ({ detail }) => {
      if (this.#client !== client) return;
      this.show(detail);
      this.dispatchEvent(new ClientEvent('result', detail));
    });
    client.addEventListener('state', ({ detail }) => {
      if (this.#client !== client) return;
      this.#showState(detail);
      this.dispatchEvent(new ClientEvent('state', detail));
    });
    client.start(this.#source).catch(() => {});
  }

  #leave() {
    this.#client?.stop();
    this.#client = null;
    this.show(null);
  }

  /** @param {import('./events.js').StateChange} change */
  #showState({ state, transport, error }) {
    if (transport) this.dataset['transport'] = transport;
    else delete this.dataset['transport'];
    if (error) this.#write(null, this.#texts.explain(error).title, '');
    else if (state === 'connecting' || state === 'reconnecting') this.#write(null, this.#texts.connecting, '');
    else if (state === 'live') this.#write(null, this.#texts.listening, '');
    else this.show(null);
  }

  /**
   * @param {Label | null} label
   * @param {string} word
   * @param {string} confidence
   */
  #write(label, word, confidence) {
    if (label) this.dataset['label'] = label;
    else delete this.dataset['label'];
    const isOwn = label !== null && !isCommon(label);
    this.classList.toggle('own', isOwn);
    if (isOwn) this.style.setProperty('--_own', labelColour(label));
    // A screen reader speaks whatever is written here, so nothing is written twice.
    if (this.#word.textContent !== word) this.#word.textContent = word;
    this.#confidence.textContent = confidence;
  }
}

/**
 * @param {string | null} name
 * @returns {'auto' | import('./session.js').Transport}
 */
function transportOf(name) {
  return name === 'webrtc' || name === 'websocket' ? name : 'auto';
}

/** @param {string} name of a part, and its class */
function part(name) {
  const element = document.createElement('span');
  element.className = name;
  element.part.add(name);
  return element;
}

function sharedSheet() {
  if (!style.sheet) {
    style.sheet = new CSSStyleSheet();
    style.sheet.replaceSync(STYLE);
  }
  return style.sheet;
}

// Two bundles of a page may bring this module; the first one's element stays.
if (globalThis.customElements && !customElements.get('voxgender-voice')) {
  customElements.define('voxgender-voice', VoxgenderVoice);
}
