// `voxgender/voxgender-voice.js`: the element, and its name for `document.createElement` and `querySelector`.

import type { VoxgenderVoice } from '../types/voxgender-voice.js';

export * from '../types/voxgender-voice.js';

declare global {
  interface HTMLElementTagNameMap {
    'voxgender-voice': VoxgenderVoice;
  }
}
