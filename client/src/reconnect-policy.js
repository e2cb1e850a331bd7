const FIRST_MS = 500;
const LONGEST_MS = 10_000;
/** A proxy whose server is restarting answers without the headers of CORS, too. A server's own refusal stays. */
const CROSS_ORIGIN_TRIES = 5;

/**
 * A try that failed.
 * @typedef {object} FailedAttempt
 * @property {number} failures tries that failed before this one, from 0
 * @property {import('./errors.js').VoxgenderError} error why this one failed; `retryAfterMs` is the server's wish
 */
/**
 * Decides after each try that failed when to try again: in so many milliseconds; null, as anything that is no finite
 * number, gives up, and the client ends in `failed`.
 * @typedef {(attempt: FailedAttempt) => number | null} ReconnectPolicy
 */

/**
 * Wait with exponential backoff and jitter, so that the callers of a server that went down do not all come back in the
 * same instant. A server that answers knows better: its `Retry-After` is never undercut, nor stretched by more than
 * half. An error that waiting does not heal is final.
 * @param {{random?: () => number}} [options]
 * @returns {ReconnectPolicy}
 */
export function exponentialBackoff({ random = Math.random } = {}) {
  return ({ failures, error }) => {
    if (!error.heals || (error.code === 'cross_origin' && failures >= CROSS_ORIGIN_TRIES)) return null;
    if (error.retryAfterMs !== null) return Math.max(error.retryAfterMs, FIRST_MS) * (1 + 0.5 * random());
    return Math.min(LONGEST_MS, FIRST_MS * 2 ** failures) * (0.5 + 0.5 * random());
  };
}
