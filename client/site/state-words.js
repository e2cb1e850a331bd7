/** @typedef {import('voxgender').State} State */
/** @typedef {import('voxgender').Transport} Transport */

/** @type {Readonly<Record<State, string>>} */
export const STATUS_WORDS = {
  idle: 'Ready',
  'requesting-microphone': 'Waiting for the microphone',
  connecting: 'Connecting',
  live: 'Live',
  reconnecting: 'Reconnecting',
  stopped: 'Stopped',
  failed: 'Stopped',
};

/** @type {Readonly<Record<State, string>>} */
export const HEADLINES = {
  idle: 'Press Start and speak',
  'requesting-microphone': 'Allow the microphone',
  connecting: 'Connecting…',
  live: 'Listening…',
  reconnecting: 'Reconnecting…',
  stopped: 'Stopped',
  failed: 'Stopped',
};

/** @type {Readonly<Record<Transport, string>>} */
export const TRANSPORT_WORDS = { webrtc: 'WebRTC', websocket: 'WebSocket' };

/** @param {State} state */
export function isRunning(state) {
  return !['idle', 'stopped', 'failed'].includes(state);
}
