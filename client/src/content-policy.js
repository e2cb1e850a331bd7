// Tell which requests the page's own Content-Security-Policy forbids: browsers say it in an event, not in the error.

import { ConnectionError } from './errors.js';
import { wait } from './promises.js';

/** The event may come after the error, in a task of its own. */
const TOLD_MS = 50;
const PROBE_MS = 3_000;

/**
 * Do something with a URL; where it fails because the page's policy forbids it, say so, and by which directive.
 * @template T
 * @param {string | URL} url
 * @param {() => Promise<T>} work
 * @param {{isModule?: boolean}} [options] whether it is a script that is loaded
 * @returns {Promise<T>}
 * @throws {ConnectionError} `content_policy`: the policy forbids it
 */
export async function underPolicy(url, work, { isModule = false } = {}) {
  if (!globalThis.document) return await work();
  const { href, host, protocol } = new URL(url, document.baseURI);
  let directive = '';
  const note = (/** @type {SecurityPolicyViolationEvent} */ { disposition, blockedURI, effectiveDirective }) => {
    // Browsers may tell no more of a WebSocket's URL than its scheme (https://www.w3.org/TR/CSP3/#strip-url-for-use-in-reports).
    const isIt = blockedURI === protocol.slice(0, -1) || hostOf(blockedURI) === host;
    if (isIt && disposition === 'enforce') directive = effectiveDirective.replace(/-elem$/, '');
  };
  document.addEventListener('securitypolicyviolation', note);
  try {
    return await work();
  } catch (cause) {
    await wait(TOLD_MS);
    // Chromium tells nothing of the modules of worklets. The same rule holds for scripts.
    if (!directive && isModule) await preload(href);
    if (!directive) throw cause;
    const message = `The page's Content-Security-Policy forbids ${protocol}//${host}: add it to ${directive}`;
    throw new ConnectionError('content_policy', message, { cause, heals: false });
  } finally {
    document.removeEventListener('securitypolicyviolation', note);
  }
}

/**
 * Have a module fetched as a script is, and not run.
 * @param {string} href
 */
async function preload(href) {
  const link = Object.assign(document.createElement('link'), { rel: 'modulepreload', href });
  const over = new Promise((resolve) => (link.onload = link.onerror = resolve));
  document.head.append(link);
  await Promise.race([over, wait(PROBE_MS)]);
  link.remove();
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
