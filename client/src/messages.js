import { MESSAGE_TYPES } from './message-types.js';

/** @typedef {import('./message-types.js').Message} Message */

/**
 * Read one message.
 * @param {unknown} data from a channel
 * @returns {Message | null} null for a text that is no message of this version, or of a type not known here
 */
export function parse(data) {
  if (typeof data !== 'string') return null;
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    return null;
  }
  return message?.v === 1 && MESSAGE_TYPES.includes(message.type) ? message : null;
}

/**
 * Return how much of a call's audio had been heard when a message was told, at least.
 * @param {Message} message
 * @returns {number} seconds of the call's audio; 0 where the message does not say
 */
export function toldUntilS(message) {
  if (message.type === 'result' || message.type === 'segment') return message.end;
  return message.type === 'change' ? message.at : 0;
}

/**
 * Tell whether a message can be about one voice of a call, and not about the call alone.
 * @param {Message} message
 * @returns {message is Exclude<Message, {type: 'hello' | 'error' | 'start' | 'end'}>}
 */
export function isOfVoice(message) {
  return !['hello', 'error', 'start', 'end'].includes(message.type);
}
