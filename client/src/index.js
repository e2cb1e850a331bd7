export { VoxgenderClient } from './voxgender-client.js';
export { ClientEvent } from './events.js';
export { exponentialBackoff } from './reconnect-policy.js';
export { tap, VoiceTap } from './tap.js';
export { listMicrophones, openMicrophone } from './microphone.js';
export { LevelMeter } from './level-meter.js';
export { Timeline } from './timeline.js';
export { VoxgenderError, MicrophoneError, ServerError, ConnectionError } from './errors.js';
export { isCommon, isVoice, LABEL_WORDS, labelColour, labelWord } from './labels.js';
export { ERROR_WORDS, explain } from './words.js';

/** @typedef {import('./message-types.js').Message} Message */
/** @typedef {import('./message-types.js').Hello} Hello */
/** @typedef {import('./message-types.js').Result} Result */
/** @typedef {import('./message-types.js').Change} Change */
/** @typedef {import('./message-types.js').Segment} Segment */
/** @typedef {import('./message-types.js').Summary} Summary */
/** @typedef {import('./message-types.js').Warning} Warning */
/** @typedef {import('./message-types.js').ErrorMessage} ErrorMessage */
/** @typedef {import('./message-types.js').Start} Start */
/** @typedef {import('./message-types.js').End} End */
/** @typedef {import('./message-types.js').NamedVoice} NamedVoice */
/** @typedef {import('./message-types.js').Limits} Limits */
/** @typedef {import('./message-types.js').Usage} Usage */
/** @typedef {import('./message-types.js').Label} Label */
/** @typedef {import('./session.js').Transport} Transport */
/** @typedef {import('./session.js').Tracks} Tracks */
/** @typedef {import('./voxgender-client.js').Source} Source */
/** @typedef {import('./voxgender-client.js').Token} Token */
/** @typedef {import('./call-options.js').CallOptions} CallOptions */
/** @typedef {import('./events.js').State} State */
/** @typedef {import('./events.js').StateChange} StateChange */
/** @typedef {import('./events.js').SessionStart} SessionStart */
/** @typedef {import('./events.js').InputChange} InputChange */
/** @typedef {import('./events.js').ClientEvents} ClientEvents */
/** @typedef {import('./reconnect-policy.js').ReconnectPolicy} ReconnectPolicy */
/** @typedef {import('./reconnect-policy.js').FailedAttempt} FailedAttempt */
/** @typedef {import('./tap.js').CurrentTrack} CurrentTrack */
