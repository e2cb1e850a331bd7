// One small tree. `code` is for programs, `message` for logs; `explain` in words.js has the words for people.

export class VoxgenderError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{heals?: boolean, retryAfterMs?: number | null, cause?: unknown}} [options]
   */
  constructor(code, message, { heals = false, retryAfterMs = null, cause } = {}) {
    super(message, { cause });
    this.name = new.target.name;
    this.code = code;
    /** True if trying again later can help. */
    this.heals = heals;
    /** Time that the server asked to wait before that, if it did. */
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * No microphone: `insecure_origin`, `denied`, `withheld`, `not_found`, `busy`, `unplugged` or `unavailable`. Or one that gives
 * nothing: `interrupted` or `silent`.
 */
export class MicrophoneError extends VoxgenderError {}

/** The server refused: `code` is the problem's own (`at_capacity`, `too_many_voices`, …) or `http_<status>`. */
export class ServerError extends VoxgenderError {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {{retryAfterMs?: number | null}} [options]
   */
  constructor(status, code, message, { retryAfterMs = null } = {}) {
    super(code, message, { heals: status >= 500 || status === 408 || status === 429, retryAfterMs });
    this.status = status;
  }
}

/**
 * No way to the server, or no longer: `unreachable`, `cross_origin`, `mixed_content`, `local_network`, `content_policy`,
 * `bad_endpoint`, `no_media_path`, `no_websocket`, `lost`, or the code of the `error` message with which the server ended the call.
 */
export class ConnectionError extends VoxgenderError {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{heals?: boolean, cause?: unknown}} [options]
   */
  constructor(code, message, { heals = true, cause } = {}) {
    super(code, message, { heals, cause });
  }
}
