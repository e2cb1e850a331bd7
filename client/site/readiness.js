import { MicrophoneError } from 'voxgender';

/**
 * Find out, without asking for anything, why the microphone cannot be used here.
 * @returns {Promise<MicrophoneError | null>} null where nothing speaks against it
 */
export async function findObstacle() {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    return new MicrophoneError('insecure_origin', 'Browsers give the microphone to secure pages only');
  }
  const permission = await microphonePermission();
  return permission?.state === 'denied'
    ? new MicrophoneError('denied', 'The page was not allowed to use the microphone')
    : null;
}

/** @param {() => void} onchange told when the user lets the page use the microphone, or no longer does */
export async function watchPermission(onchange) {
  (await microphonePermission())?.addEventListener('change', onchange);
}

/** @returns {Promise<PermissionStatus | null>} null in browsers that do not tell */
async function microphonePermission() {
  try {
    return await navigator.permissions.query({ name: /** @type {PermissionName} */ ('microphone') });
  } catch {
    return null;
  }
}
