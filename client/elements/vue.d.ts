import type { DefineComponent, HTMLAttributes, ReservedProps } from 'vue';

import type { ClientEvent } from '../types/index.js';
import type { VoxgenderVoiceProperties } from './properties.js';

export * from './html.js';

interface Handlers {
  onResult?: (event: ClientEvent<'result'>) => void;
  onState?: (event: ClientEvent<'state'>) => void;
}

declare module 'vue' {
  interface GlobalComponents {
    'voxgender-voice': DefineComponent<VoxgenderVoiceProperties & Handlers>;
  }
}

declare module 'vue/jsx-runtime' {
  namespace JSX {
    interface IntrinsicElements {
      'voxgender-voice': ReservedProps & HTMLAttributes & VoxgenderVoiceProperties & Handlers;
    }
  }
}
