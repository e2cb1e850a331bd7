const FIRST_MS = 500;
const LONGEST_MS = 10_000;
/** A server that is started again, or a network that comes back, is noticed within a second of it for so many tries. */
const PROMPT_TRIES = 20;
const PROMPT_MS = 1_000;
/** The server did not answer, so a try costs it nothing. */
const UNANSWERED = new Set(['unreachable', 'cross_origin', 'lost', 'no_media_path', 'unheard']);

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
 * same instant. Where nothing answers the wait is a second at most at first, and grows after some 15 s. A server that
 * answers knows better: its `Retry-After` is never undercut, nor stretched by more than half. An error that waiting
 * does not heal is final.
 * @param {{random?: () => number}} [options]
 * @returns {ReconnectPolicy}
 */
export function exponentialBackoff({ random = Math.random } = {}) {
  return ({ failures, error }) => {
    if (!error.heals) return null;
    if (error.retryAfterMs !== null) return Math.max(error.retryAfterMs, FIRST_MS) * (1 + 0.5 * random());
    const isPrompt = UNANSWERED.has(error.code) && failures < PROMPT_TRIES;
    const doublings = UNANSWERED.has(error.code) && !isPrompt ? failures - PROMPT_TRIES + 2 : failures;
    return Math.min(isPrompt ? PROMPT_MS : LONGEST_MS, FIRST_MS * 2 ** doublings) * (0.5 + 0.5 * random());
  };
}
