export { VoxgenderClient } from './voxgender-client.js';
export { tap, VoiceTap } from './tap.js';
export { LevelMeter } from './level-meter.js';
export { Timeline } from './timeline.js';
export { VoxgenderError, MicrophoneError, ServerError, ConnectionError } from './errors.js';
export { explain, LABEL_WORDS } from './words.js';

/** @typedef {import('./messages.js').Message} Message */
/** @typedef {import('./messages.js').Result} Result */
/** @typedef {import('./messages.js').Summary} Summary */
/** @typedef {import('./messages.js').Label} Label */
/** @typedef {import('./voxgender-client.js').State} State */
/** @typedef {import('./voxgender-client.js').StateChange} StateChange */
