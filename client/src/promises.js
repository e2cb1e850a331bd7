/**
 * A promise and its handles.
 * @template T
 * @returns {{promise: Promise<T>, resolve: (value: T) => void, reject: (reason: unknown) => void}}
 */
export function deferred() {
  /** @type {(value: T) => void} */
  let resolve = () => {};
  /** @type {(reason: unknown) => void} */
  let reject = () => {};
  /** @type {Promise<T>} */
  const promise = new Promise((...handles) => ([resolve, reject] = handles));
  return { promise, resolve, reject };
}

/**
 * Wait for a promise, but no longer than the signal allows.
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} signal
 * @returns {Promise<T>} rejects with the signal's reason once it aborts
 */
export function abortable(promise, signal) {
  return new Promise((resolve, reject) => {
    const onabort = () => reject(signal.reason);
    if (signal.aborted) onabort();
    signal.addEventListener('abort', onabort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onabort));
  });
}

/** @param {number} ms */
export function wait(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
