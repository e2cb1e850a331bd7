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
  #byHand;
  #runs;

  /**
   * @param {{format: HTMLSelectElement, copy: HTMLButtonElement, save: HTMLButtonElement, byHand: HTMLElement}} elements
   *   `byHand` holds a text area, and is shown where the browser does not let the page copy
   * @param {() => LabelRuns} runs returns those to write
   */
  constructor({ format, copy, save, byHand }, runs) {
    this.#format = format;
    this.#copy = copy;
    this.#save = save;
    this.#byHand = byHand;
    this.#runs = runs;
    format.replaceChildren(...Object.entries(FORMATS).map(([key, { name }]) => new Option(name, key)));
    this.translate();
    copy.addEventListener('click', () => this.#copyText());
    save.addEventListener('click', () => this.#saveFile());
    this.show();
  }

  /** Name the one format that has a word of its own in each language. */
  translate() {
    /** @type {HTMLOptionElement} */ (this.#format.options[0]).text = words().plainText;
  }

  /** Offer it once there is something to write. */
  show() {
    const empty = !this.#runs().all.length;
    if (this.#copy.disabled === empty) return;
    this.#copy.disabled = this.#save.disabled = empty;
    if (empty) this.#byHand.hidden = true;
  }

  async #copyText() {
    const { text } = this.#written();
    const copied = await copyText(text);
    this.#byHand.hidden = copied;
    if (!copied) {
      const field = /** @type {HTMLTextAreaElement} */ (this.#byHand.querySelector('textarea'));
      field.value = text;
      field.select();
      return;
    }
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

/**
 * @param {string} text
 * @returns {Promise<boolean>} whether the browser let the page do it
 */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The page is not secure and has no clipboard, or may not use it. It may copy what is selected, as a rule.
  }
  const field = document.createElement('textarea');
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand('copy');
  field.remove();
  return copied;
}
