import { listMicrophones } from 'voxgender';

import { words } from './language.js';

/** @typedef {import('voxgender').VoxgenderClient} VoxgenderClient */

/** Lets people choose the microphone, before a call and during one. */
export class MicrophonePicker {
  #select;
  #client;

  /**
   * @param {HTMLSelectElement} select
   * @param {VoxgenderClient} client
   * @param {(error: Error) => void} onerror told why the chosen one cannot be used
   */
  constructor(select, client, onerror) {
    this.#select = select;
    this.#client = client;
    select.addEventListener('change', async () => {
      try {
        await client.useMicrophone(select.value || null);
      } catch (error) {
        onerror(/** @type {Error} */ (error));
      }
      await this.refresh();
    });
    navigator.mediaDevices?.addEventListener('devicechange', () => this.refresh());
  }

  /** List what there is; browsers tell names once the page may use a microphone. */
  async refresh() {
    const microphones = await listMicrophones();
    const options = microphones.map(
      ({ deviceId, label }, index) => new Option(label || words().microphoneNumber(index + 1), deviceId),
    );
    this.#select.replaceChildren(...(options.length ? options : [new Option(words().byDefault, '')]));
    const inUse = this.#client.track?.getSettings().deviceId;
    if (inUse && microphones.some(({ deviceId }) => deviceId === inUse)) this.#select.value = inUse;
  }
}
