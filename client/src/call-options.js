// The options of a call, as the server takes them in a query (docs/http-api.md).

/**
 * @typedef {object} CallOptions
 * @property {string} [name] by which the call can be followed
 * @property {string} [reference] what your own system calls the call
 * @property {readonly string[]} [tags] words of your own, told back with the call
 * @property {number} [hopMs] time between two results: a multiple of the server's own hop
 * @property {readonly ('result' | 'change' | 'segment' | 'summary')[]} [messages] that are wanted; all where left out
 */

/** Options that are not given are not asked for. @typedef {Readonly<Record<string, string>>} Query */

/**
 * @param {CallOptions} options
 * @returns {Query}
 */
export function queryOf({ name, reference, tags = [], hopMs, messages = [] }) {
  const given = { name, reference, tags: tags.join(), hop_ms: hopMs && String(hopMs), messages: messages.join() };
  return Object.fromEntries(
    Object.entries(given).filter(/** @returns {entry is [string, string]} */ (entry) => Boolean(entry[1])),
  );
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
