// The WHIP client's half of RFC 9725: offer in, answer out, candidates trickled, session deleted.

import { withQuery } from './call-options.js';
import { underPolicy } from './content-policy.js';
import { ServerError } from './errors.js';
import { wait } from './promises.js';
import { noteAnswer, whyUnanswered } from './unanswered.js';

const ANSWER_TIMEOUT_MS = 15_000;
const STATUS_TIMEOUT_MS = 3_000;
const PATCH_TRIES = 3;
const PATCH_AGAIN_MS = 250;
/** A later offer that got no answer is made again, so it is not waited for as long as the first one. */
const UPDATE_TIMEOUT_MS = 5_000;
/** A proxy may say so of a request that it has handed on already. */
const REQUEST_TIMEOUT = 408;
/** Codes of a server that says, before it has changed anything, that it takes no more. */
const UNCHANGED = new Set(['at_capacity', 'overloaded', 'draining', 'starting']);
/** A connection that comes up later than this has been given up. */
const LONGEST_PATCH_WAIT_MS = 3_000;

/**
 * A session on the server.
 * @typedef {object} Resource
 * @property {string} url
 * @property {string | null} etag
 * @property {string} answer SDP
 * @property {RTCIceServer[]} iceServers what the server advised, from its `Link` headers
 */

/**
 * Offer a session (RFC 9725 section 4.2).
 * @param {string | URL} endpoint
 * @param {string} offer SDP
 * @param {{token?: string | null, query?: import('./call-options.js').Query}} [options]
 * @returns {Promise<Resource>}
 * @throws {ServerError} the server refused
 * @throws {ConnectionError} no answer at all; the code says why
 */
export async function publish(endpoint, offer, { token = null, query = {} } = {}) {
  /** @type {Record<string, string>} */
  const headers = { 'Content-Type': 'application/sdp' };
  if (token) headers['Authorization'] = `Bearer ${token}`;
  let response, body;
  try {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const url = withQuery(endpoint, query);
    response = await underPolicy(endpoint, () => fetch(url, { method: 'POST', headers, body: offer, signal }));
    body = await response.text();
  } catch (cause) {
    throw await whyUnanswered(endpoint, cause);
  }
  noteAnswer(endpoint);
  if (!response.ok) throw refusal(response, body);
  const url = absolute(response.headers.get('Location'), response.url || endpoint);
  if (response.status !== 201 || !url) {
    throw new ServerError(response.status, 'not_whip', `${endpoint} does not answer as a WHIP endpoint does`);
  }
  return {
    url,
    etag: response.headers.get('ETag'),
    answer: body,
    iceServers: parseIceServers(response.headers.get('Link')),
  };
}

/**
 * Offer anew in a session: its voices have changed. An extension of the server's; WHIP knows no second offer. An offer that
 * comes twice is answered twice and changes nothing the second time, so one without an answer is made again.
 * @param {Resource} resource
 * @param {string} offer SDP
 * @returns {Promise<string>} the answer
 * @throws {ServerError} the server refused
 * @throws {ConnectionError} no answer at all
 */
export async function update(resource, offer) {
  for (let left = PATCH_TRIES - 1; ; left -= 1) {
    try {
      return await updateOnce(resource, offer);
    } catch (error) {
      if (!left || isRefusal(error)) throw error;
    }
    await wait(PATCH_AGAIN_MS);
  }
}

/**
 * @param {Resource} resource
 * @param {string} offer SDP
 */
async function updateOnce(resource, offer) {
  const headers = { 'Content-Type': 'application/sdp' };
  let response, body;
  try {
    const signal = AbortSignal.timeout(UPDATE_TIMEOUT_MS);
    response = await fetch(resource.url, { method: 'PATCH', headers, body: offer, signal });
    body = await response.text();
  } catch (cause) {
    throw await whyUnanswered(resource.url, cause);
  }
  if (!response.ok) throw refusal(response, body);
  return body;
}

/**
 * Tells whether the server has refused a later offer, and changed nothing. Of any other failure that is not known: the offer may
 * have been taken, and its answer been lost.
 * @param {unknown} error
 */
export function isRefusal(error) {
  if (!(error instanceof ServerError) || error.status === REQUEST_TIMEOUT) return false;
  return error.status < 500 || UNCHANGED.has(error.code);
}

/**
 * Give the audio lines of an offer titles (`i=`, RFC 8866 section 5.4), by which the server names its voices.
 * @param {string} offer SDP
 * @param {(mid: string, index: number) => string | null | undefined} nameOf name of an audio line, by its mid and its
 *   number among the audio lines
 */
export function titled(offer, nameOf) {
  let audio = 0;
  const sections = offer.split(/^(?=m=)/m).map((section) => {
    if (!section.startsWith('m=audio')) return section;
    const name = nameOf(/^a=mid:(\S+)/m.exec(section)?.[1] ?? '', audio++);
    return name ? section.replace(/\r?\n/, (newline) => `${newline}i=${name}${newline}`) : section;
  });
  return sections.join('');
}

/**
 * Read a `Location` header.
 * @param {string | null} location
 * @param {string | URL} base
 * @returns {string | null} null where there is none, or no URL in it
 */
export function absolute(location, base) {
  try {
    return location && new URL(location, base).href;
  } catch {
    return null;
  }
}

/**
 * Send candidates (RFC 9725 section 4.3.2). But for a session that is gone, failure is left to the connection to show.
 * @param {Resource} resource
 * @param {string} fragment of `sdpFragment`
 * @returns {Promise<boolean>} false where the session is gone
 */
export async function trickle(resource, fragment) {
  /** @type {Record<string, string>} */
  const headers = { 'Content-Type': 'application/trickle-ice-sdpfrag' };
  if (resource.etag) headers['If-Match'] = resource.etag;
  for (let left = PATCH_TRIES; left > 0; left -= 1) {
    const response = await fetch(resource.url, { method: 'PATCH', headers, body: fragment }).catch(() => null);
    if (!response || ![429, 503].includes(response.status)) return !isGone(response);
    const askedMs = parseRetryAfter(response.headers.get('Retry-After')) ?? 0;
    await wait(Math.min(Math.max(askedMs, PATCH_AGAIN_MS), LONGEST_PATCH_WAIT_MS));
  }
  return true;
}

/**
 * Ask whether a session is still there.
 * @param {Resource} resource
 * @returns {Promise<boolean>} false where the server has it no more, or cannot be reached; one that answers anything
 *   else may have it still
 */
export async function isAlive(resource) {
  const signal = AbortSignal.timeout(STATUS_TIMEOUT_MS);
  const response = await fetch(resource.url, { signal }).catch(() => null);
  return response !== null && !isGone(response);
}

/** @param {Response | null} response */
function isGone(response) {
  return response?.status === 404 || response?.status === 410;
}

/**
 * End a session (RFC 9725 section 4.2). The request outlives the page.
 * @param {Pick<Resource, 'url'>} resource
 * @returns {Promise<boolean>} whether the server did; not where it is gone, or had ended the session already
 */
export async function end(resource) {
  const response = await fetch(resource.url, { method: 'DELETE', keepalive: true }).catch(() => null);
  return response?.ok ?? false;
}

/**
 * Candidates as a trickle ICE fragment (RFC 8840 section 9) of a bundled offer.
 * @param {string} offer SDP, for its ICE credentials and first media line
 * @param {readonly (RTCIceCandidate | null)[]} candidates null at the end of them
 */
export function sdpFragment(offer, candidates) {
  const line = (/** @type {RegExp} */ pattern) => pattern.exec(offer)?.[0].trimEnd();
  const lines = [line(/^a=ice-ufrag:.*$/m), line(/^a=ice-pwd:.*$/m), line(/^m=.*$/m), line(/^a=mid:.*$/m)];
  for (const candidate of candidates) {
    if (!candidate) lines.push('a=end-of-candidates');
    else if (candidate.candidate) lines.push(`a=${candidate.candidate}`);
  }
  return `${lines.filter(Boolean).join('\r\n')}\r\n`;
}

const LINK = /<([^<>]*)>((?:\s*;\s*[^\s=;,"]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))?)*)/g;
const PARAMETER = /;\s*([^\s=;,"]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?/g;

/**
 * ICE servers out of `Link` headers (RFC 9725 section 4.6, syntax of RFC 8288).
 * @param {string | null} header all of them, joined with commas as `Headers.get` does
 * @returns {RTCIceServer[]}
 */
export function parseIceServers(header) {
  const servers = [];
  for (const [, urls = '', rest = ''] of (header ?? '').matchAll(LINK)) {
    /** @type {Record<string, string>} */
    const parameters = {};
    for (const [, name = '', quoted, token] of rest.matchAll(PARAMETER)) {
      parameters[name.toLowerCase()] ??= quoted?.replace(/\\(.)/g, '$1') ?? token ?? '';
    }
    if (!parameters['rel']?.toLowerCase().split(/\s+/).includes('ice-server')) continue;
    const { username, credential } = parameters;
    servers.push(username === undefined ? { urls } : { urls, username, credential: credential ?? '' });
  }
  return servers;
}

/**
 * `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
 * @param {string | null} header
 * @returns {number | null} milliseconds
 */
export function parseRetryAfter(header, nowMs = Date.now()) {
  if (header === null) return null;
  const waitMs = /^\s*\d+\s*$/.test(header) ? Number(header) * 1000 : Date.parse(header) - nowMs;
  return Number.isNaN(waitMs) ? null : Math.max(0, waitMs);
}

/**
 * A refusal as an error, out of its problem+json (RFC 9457) where it has one.
 * @param {Response} response
 * @param {string} body
 */
export function refusal(response, body) {
  let problem;
  try {
    problem = JSON.parse(body);
  } catch {
    problem = null;
  }
  const code = typeof problem?.code === 'string' ? problem.code : `http_${response.status}`;
  const told = [problem?.detail, problem?.title].find((text) => typeof text === 'string' && text);
  const message = told ?? `The server answered ${response.status}`;
  const retryAfterMs = parseRetryAfter(response.headers.get('Retry-After'));
  return new ServerError(response.status, code, message, { retryAfterMs });
}
