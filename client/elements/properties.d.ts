import type { ClientEvent, Token, Transport } from '../types/index.js';
import type { Source } from '../types/voxgender-voice.js';

/** What `<voxgender-voice>` takes in JSX and in templates: frameworks set properties where an element has them. */
export interface VoxgenderVoiceProperties {
  /** The server's WHIP endpoint. */
  endpoint?: string;
  token?: Token;
  transport?: 'auto' | Transport;
  'ice-transport-policy'?: RTCIceTransportPolicy;
  source?: Source;
}

/** Handlers of its events, under the names that React and Preact give them. */
export interface VoxgenderVoiceHandlers {
  onresult?: (event: ClientEvent<'result'>) => void;
  onstate?: (event: ClientEvent<'state'>) => void;
}
