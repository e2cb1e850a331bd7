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
