const FIRST_MS = 500;
const LONGEST_MS = 15_000;

/**
 * How long to wait before trying again: exponential with jitter, so that the callers of a server that went down do
 * not all come back in the same instant. A server's own `Retry-After` is a floor, never undercut.
 * @param {number} failures tries that failed before this one, from 0
 * @param {{retryAfter_ms?: number | null, random?: () => number}} [options]
 * @returns {number} milliseconds
 */
export function backoff_ms(failures, { retryAfter_ms = null, random = Math.random } = {}) {
  const ceiling_ms = Math.min(LONGEST_MS, FIRST_MS * 2 ** failures);
  const jittered_ms = ceiling_ms * (0.5 + 0.5 * random());
  if (retryAfter_ms === null) return jittered_ms;
  return retryAfter_ms + Math.max(0, jittered_ms - retryAfter_ms) + FIRST_MS * random();
}
