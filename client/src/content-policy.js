// What the page's own Content-Security-Policy keeps the client from. Browsers say it in an event, not in the error.

import { ConnectionError } from './errors.js';
import { wait } from './promises.js';

/** The event may come after the error, in a task of its own. */
const TOLD_MS = 50;

/**
 * Do something with a URL; where it fails because the page's policy forbids it, say so, and by which directive.
 * @template T
 * @param {string | URL} url
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 * @throws {ConnectionError} `content_policy`: the policy forbids it
 */
export async function underPolicy(url, work) {
  if (!globalThis.document) return await work();
  const { host, origin } = new URL(url, document.baseURI);
  let directive = '';
  const note = (/** @type {SecurityPolicyViolationEvent} */ event) => {
    if (event.disposition === 'enforce' && hostOf(event.blockedURI) === host) directive = event.effectiveDirective;
  };
  document.addEventListener('securitypolicyviolation', note);
  try {
    return await work();
  } catch (cause) {
    await wait(TOLD_MS);
    if (!directive) throw cause;
    const message = `The page's Content-Security-Policy forbids ${origin}: add it to ${directive}`;
    throw new ConnectionError('content_policy', message, { cause, heals: false });
  } finally {
    document.removeEventListener('securitypolicyviolation', note);
  }
}

/** @param {string} uri */
function hostOf(uri) {
  try {
    return new URL(uri).host;
  } catch {
    // "inline", "eval" and the like
    return '';
  }
}
