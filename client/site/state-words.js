/** @typedef {import('voxgender').State} State */
/** @typedef {import('./language.js').Phrase} Phrase */

/** @type {Readonly<Record<State, Phrase>>} */
export const STATUS = {
  idle: 'ready',
  'requesting-microphone': 'waitingForMicrophone',
  connecting: 'connecting',
  live: 'live',
  reconnecting: 'reconnecting',
  stopped: 'stopped',
  failed: 'stopped',
};

/** @type {Readonly<Record<State, Phrase>>} */
export const HEADLINES = {
  idle: 'pressStart',
  'requesting-microphone': 'allowMicrophone',
  connecting: 'connecting',
  live: 'listening',
  reconnecting: 'reconnecting',
  stopped: 'stopped',
  failed: 'stopped',
};

/** @param {State} state */
export function isRunning(state) {
  return !['idle', 'stopped', 'failed'].includes(state);
}

/** @type {Readonly<Record<import('voxgender').Transport, string>>} */
export const TRANSPORTS = { webrtc: 'WebRTC', websocket: 'WebSocket' };
