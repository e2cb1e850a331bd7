// Tell why a request got no answer. `fetch` fails in one and the same way, whatever the reason; pages have to find out.

import { ConnectionError } from './errors.js';

const PROBE_TIMEOUT_MS = 3_000;
/** The permission's name in Chrome, and the two that the specification has parted it into. */
const LOCAL_NETWORK_PERMISSIONS = ['local-network-access', 'local-network', 'loopback-network'];

/**
 * Origins whose answers this page could read: they let it call.
 * @type {Set<string>}
 */
const readable = new Set();

/**
 * Take note of an answer that the page could read.
 * @param {string | URL} endpoint
 */
export function noteAnswer(endpoint) {
  const url = absolute(endpoint);
  if (url) readable.add(url.origin);
}

/**
 * Tell why a server did not answer.
 *
 * `mixed_content`: a page on https cannot ask a server on http. `local_network`: the browser keeps the page from
 * servers of the user's own network (https://wicg.github.io/local-network-access/). `cross_origin`: the server answers,
 * and does not let this page's origin read it (CORS). Waiting heals that only where the origin was read before: a proxy
 * whose server is restarting answers without the headers of CORS, too.
 * `bad_endpoint`: its address is none. `unreachable`: anything else.
 * @param {string | URL} endpoint
 * @param {unknown} cause what `fetch` threw
 * @returns {Promise<ConnectionError>}
 */
export async function whyUnanswered(endpoint, cause) {
  if (cause instanceof ConnectionError) return cause;
  const url = absolute(endpoint);
  if (!url) {
    return new ConnectionError('bad_endpoint', `“${endpoint}” is no address of a server`, { cause, heals: false });
  }
  const unreachable = new ConnectionError('unreachable', `No answer from ${endpoint}`, { cause });
  const page = globalThis.location;
  const timedOut = cause instanceof DOMException && cause.name === 'TimeoutError';
  if (!page || timedOut) return unreachable;
  if (url.origin === page.origin) return unreachable;
  if (page.protocol === 'https:' && url.protocol === 'http:' && !isLoopback(url.hostname)) {
    return new ConnectionError('mixed_content', `A page on https cannot reach ${url.origin}`, { cause, heals: false });
  }
  if (await isKeptFromLocalNetwork(url, page)) {
    return new ConnectionError('local_network', `The browser does not let ${page.origin} reach ${url.origin}`, {
      cause,
      heals: false,
    });
  }
  if ((await answers(url, 'no-cors')) && !(await answers(url, 'cors'))) {
    return new ConnectionError('cross_origin', `${url.origin} does not let pages of ${page.origin} call`, {
      cause,
      heals: readable.has(url.origin),
    });
  }
  return unreachable;
}

/**
 * @param {string | URL} endpoint
 * @returns {URL | null} null where it is none
 */
function absolute(endpoint) {
  try {
    return new URL(endpoint, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch {
    return null;
  }
}

/**
 * @param {URL} url
 * @param {RequestMode} mode
 */
async function answers(url, mode) {
  try {
    const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
    await fetch(url, { mode, signal, cache: 'no-store', credentials: 'omit' });
    return true;
  } catch {
    return false;
  }
}

/**
 * Return whether the browser keeps a page from a server of the user's own network.
 * @param {URL} url
 * @param {{hostname: string}} page
 */
export async function isKeptFromLocalNetwork(url, page) {
  if (!isLocal(url.hostname) || isLocal(page.hostname)) return false;
  const states = await Promise.all(LOCAL_NETWORK_PERMISSIONS.map(permissionState));
  // `prompt`: the user has not answered, or the browser did not even ask.
  return states.some(Boolean) && !states.includes('granted');
}

/**
 * @param {string} name
 * @returns {Promise<PermissionState | null>} null in browsers that do not know it
 */
async function permissionState(name) {
  try {
    const status = await navigator.permissions.query({ name: /** @type {PermissionName} */ (name) });
    return status.state;
  } catch {
    return null;
  }
}

/** @param {string} hostname as URLs have it: IPv6 addresses in brackets */
function isLoopback(hostname) {
  return hostname === 'localhost' || hostname.endsWith('.localhost') || /^127\.|^\[::1\]$/.test(hostname);
}

/** @param {string} hostname */
function isLocal(hostname) {
  return (
    isLoopback(hostname) ||
    hostname === '' ||
    hostname.endsWith('.local') ||
    /^10\.|^192\.168\.|^169\.254\.|^172\.(1[6-9]|2\d|3[01])\.|^100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|^\[f[cd]|^\[fe[89ab]/.test(
      hostname,
    )
  );
}
