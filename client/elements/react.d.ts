import type { DetailedHTMLProps, HTMLAttributes } from 'react';

import type { VoxgenderVoice } from './html.js';
import type { VoxgenderVoiceHandlers, VoxgenderVoiceProperties } from './properties.js';

export * from './html.js';

declare module 'react' {
  namespace JSX {
    interface IntrinsicElements {
      'voxgender-voice': DetailedHTMLProps<HTMLAttributes<VoxgenderVoice>, VoxgenderVoice> &
        VoxgenderVoiceProperties &
        VoxgenderVoiceHandlers;
    }
  }
}
