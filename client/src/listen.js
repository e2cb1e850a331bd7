// The client's half of `/listen`: a ticket asked for as a WHIP session is, and a WebSocket at its URL.

import { underPolicy } from './content-policy.js';
import { ServerError } from './errors.js';
import { noteAnswer, whyUnanswered } from './unanswered.js';
import { absolute, end, refusal } from './whip.js';

const ANSWER_TIMEOUT_MS = 15_000;

/**
 * Return the URL at which a server with this WHIP endpoint takes WebSockets: beside it, with the same query.
 * @param {string | URL} endpoint
 * @returns {URL}
 */
export function listenUrl(endpoint) {
  const url = new URL(endpoint, globalThis.document?.baseURI);
  url.pathname = url.pathname.replace(/\/+$/, '');
  const listen = new URL('listen', url);
  listen.search = url.search;
  return listen;
}

/**
 * @typedef {object} Ticket
 * @property {URL} url of the scheme `ws` or `wss`
 * @property {string | null} session the URL of the place that is kept for it
 */

/**
 * Ask for a URL that takes one WebSocket. A socket that is refused tells a page nothing; a request tells why, and its
 * token stands in no URL and no subprotocol.
 * @param {string | URL} endpoint the WHIP endpoint
 * @param {Record<string, string | number>} parameters of the stream
 * @param {{token?: string | null}} [options]
 * @returns {Promise<Ticket>}
 * @throws {ServerError} the server refused
 * @throws {ConnectionError} no answer at all; the code says why
 */
export async function askForTicket(endpoint, parameters, { token = null } = {}) {
  let url;
  try {
    url = listenUrl(endpoint);
  } catch (cause) {
    throw await whyUnanswered(endpoint, cause);
  }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, String(value));
  /** @type {Record<string, string>} */
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response, body;
  try {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    response = await underPolicy(url, () => fetch(url, { method: 'POST', headers, signal }));
    body = await response.text();
  } catch (cause) {
    throw await whyUnanswered(url, cause);
  }
  noteAnswer(url);
  if (!response.ok) throw refusal(response, body);
  const location = absolute(response.headers.get('Location'), response.url || url);
  if (response.status !== 201 || !location) {
    throw new ServerError(response.status, 'not_listen', `${url} gives no ticket for a WebSocket`);
  }
  const ticket = new URL(location);
  ticket.protocol = ticket.protocol.replace('http', 'ws');
  return { url: ticket, session: absolute(sessionIn(body), response.url || url) };
}

/**
 * Give back the place of a ticket that was not used; it would be kept for a minute.
 * @param {Ticket} ticket
 */
export async function giveBack({ session }) {
  if (session) await end({ url: session });
}

/** @param {string} body of the answer */
function sessionIn(body) {
  try {
    const { session } = JSON.parse(body);
    return typeof session === 'string' ? session : null;
  } catch {
    return null;
  }
}
