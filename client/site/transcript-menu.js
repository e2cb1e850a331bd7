import { wordOf, words } from './language.js';
import { FORMATS } from './transcript.js';

/** @typedef {import('./label-runs.js').LabelRuns} LabelRuns */
/** @typedef {import('./transcript.js').Format} Format */

const SAID_MS = 1_500;

/** Copies and saves the text stream. */
export class TranscriptMenu {
  #format;
  #copy;
  #save;
  #runs;

  /**
   * @param {{format: HTMLSelectElement, copy: HTMLButtonElement, save: HTMLButtonElement}} elements
   * @param {() => LabelRuns} runs returns those to write
   */
  constructor({ format, copy, save }, runs) {
    this.#format = format;
    this.#copy = copy;
    this.#save = save;
    this.#runs = runs;
    format.replaceChildren(...Object.entries(FORMATS).map(([key, { name }]) => new Option(name, key)));
    copy.addEventListener('click', () => this.#copyText());
    save.addEventListener('click', () => this.#saveFile());
    this.show();
  }

  /** Offer it once there is something to write. */
  show() {
    const empty = !this.#runs().all.length;
    if (this.#copy.disabled === empty) return;
    this.#copy.disabled = this.#save.disabled = empty;
  }

  async #copyText() {
    const { text } = this.#written();
    await copyText(text);
    this.#copy.textContent = words().copied;
    setTimeout(() => (this.#copy.textContent = words().copy), SAID_MS);
  }

  #saveFile() {
    const { text, format } = this.#written();
    const url = URL.createObjectURL(new Blob([text], { type: `${format.type};charset=utf-8` }));
    const link = document.createElement('a');
    link.href = url;
    link.download = `voxgender.${format.extension}`;
    link.click();
    URL.revokeObjectURL(url);
  }

  #written() {
    /** @type {Format} */
    const format = FORMATS[/** @type {keyof typeof FORMATS} */ (this.#format.value)];
    return { text: format.write(this.#runs().all, wordOf), format };
  }
}

/** @param {string} text */
async function copyText(text) {
  // Pages that are not secure have no clipboard interface, and may copy what is selected.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement('textarea');
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand('copy');
  field.remove();
}
