import type { HTMLAttributes } from 'preact';

import type { VoxgenderVoice } from './html.js';
import type { VoxgenderVoiceHandlers, VoxgenderVoiceProperties } from './properties.js';

export * from './html.js';

declare module 'preact' {
  namespace JSX {
    interface IntrinsicElements {
      'voxgender-voice': HTMLAttributes<VoxgenderVoice> & VoxgenderVoiceProperties & VoxgenderVoiceHandlers;
    }
  }
}
