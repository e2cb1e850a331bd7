// Locks of a tab (Web Locks), held for as long as it is there: the browser takes them back however the tab goes, by a click,
// by a reload or by a crash.

/**
 * Hold a lock that nobody else holds.
 * @param {string} name
 * @returns {Promise<(() => void) | null>} releases it; null where somebody holds it
 */
export function hold(name) {
  return new Promise((resolve, reject) => {
    const holding = navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      if (!lock) return resolve(null);
      return new Promise((/** @type {(value: void) => void} */ release) => resolve(() => release()));
    });
    holding.catch(reject);
  });
}

/**
 * Wait until nobody holds a lock.
 * @param {string} name
 * @param {AbortSignal} signal ends the waiting
 * @returns {Promise<boolean>} false where the waiting was ended
 */
export async function released(name, signal) {
  try {
    // Those who wait do not stand in each other's way.
    await navigator.locks.request(name, { mode: 'shared', signal }, () => {});
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    throw error;
  }
}
