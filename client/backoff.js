const FIRST_MS = 500;
const LONGEST_MS = 10_000;

/**
 * How long to wait before trying again: exponential with jitter, so that the callers of a server that went down do
 * not all come back in the same instant. A server that answers knows better: its `Retry-After` is never undercut,
 * nor stretched by more than half.
 * @param {number} failures tries that failed before this one, from 0
 * @param {{retryAfter_ms?: number | null, random?: () => number}} [options]
 * @returns {number} milliseconds
 */
export function backoff_ms(failures, { retryAfter_ms = null, random = Math.random } = {}) {
  if (retryAfter_ms !== null) return Math.max(retryAfter_ms, FIRST_MS) * (1 + 0.5 * random());
  return Math.min(LONGEST_MS, FIRST_MS * 2 ** failures) * (0.5 + 0.5 * random());
}
