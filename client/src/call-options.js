// The options of a call, as the server takes them in a query (docs/http-api.md).

import { VoxgenderError } from './errors.js';

/**
 * @typedef {object} CallOptions
 * @property {string} [name] by which the call can be followed
 * @property {string} [reference] the name of the call in your own system
 * @property {readonly string[]} [tags] words of your own, told back with the call
 * @property {number} [hopMs] time between two results: a multiple of the server's own hop
 * @property {readonly ('result' | 'change' | 'segment' | 'summary')[]} [messages] that are wanted; all where left out
 */

/** Options that are not given are not asked for. @typedef {Readonly<Record<string, string>>} Query */

/**
 * @param {CallOptions} options null is as good as left out
 * @returns {Query}
 * @throws {VoxgenderError} `option_refused`: the server would not get what was asked for
 */
export function queryOf({ name, reference, tags, hopMs, messages }) {
  const given = {
    name: text('name', name),
    reference: text('reference', reference),
    tags: list('tags', tags),
    hop_ms: milliseconds('hopMs', hopMs),
    messages: list('messages', messages),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value));
}

/**
 * @param {string} option
 * @param {unknown} value
 */
function text(option, value = null) {
  if (value !== null && typeof value !== 'string') throw refused(option, 'is a text: put it in quotes');
  return value ?? '';
}

/**
 * @param {string} option
 * @param {unknown} value
 */
function milliseconds(option, value = null) {
  const isTime = typeof value === 'number' && Number.isFinite(value) && value > 0;
  if (value !== null && !isTime)
    throw refused(option, 'is a number of milliseconds above 0: leave it out for the server’s own');
  return value === null ? '' : String(value);
}

/**
 * @param {string} option
 * @param {unknown} value
 */
function list(option, value = null) {
  if (value === null) return '';
  if (!Array.isArray(value)) throw refused(option, `is a list: write ${option}: ['…']`);
  for (const entry of value) {
    if (typeof entry !== 'string' || !entry.trim()) throw refused(option, 'is a list of texts, and none may be empty');
    if (entry.includes(','))
      throw refused(option, 'has a comma in an entry: make it two entries, or leave the comma out');
  }
  return value.join();
}

/**
 * @param {string} option
 * @param {string} advice
 */
function refused(option, advice) {
  return new VoxgenderError('option_refused', `The option ${option} ${advice}.`);
}

/**
 * @param {string | URL} endpoint
 * @param {Query} query
 * @returns {string | URL} the endpoint, with the query added to its own
 */
export function withQuery(endpoint, query) {
  const entries = Object.entries(query);
  if (!entries.length) return endpoint;
  const url = new URL(endpoint, globalThis.document?.baseURI);
  for (const [name, value] of entries) url.searchParams.set(name, value);
  return url;
}

/**
 * Tell whether a call tells results.
 * @param {import('./message-types.js').Hello} hello
 */
export function tellsResults(hello) {
  return hello.messages?.includes('result') ?? true;
}
