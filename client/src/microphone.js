import { MicrophoneError } from './errors.js';

/**
 * Constraints for a voice that is classified: no echo of the far side, little noise, and a level that the browser does
 * not ride up and down.
 * @satisfies {MediaTrackConstraints}
 */
export const VOICE_CONSTRAINTS = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: false,
  channelCount: 1,
};

/**
 * Ask for a microphone.
 * @param {string | null} [deviceId] the one wished for; any, where it is gone or null
 * @returns {Promise<MediaStreamTrack>} the caller's to stop
 * @throws {MicrophoneError}
 */
export async function openMicrophone(deviceId = null) {
  // Browsers hide the whole interface from insecure origins.
  if (!navigator.mediaDevices) {
    throw new MicrophoneError('insecure_origin', 'Browsers give the microphone to secure pages only');
  }
  const audio = deviceId ? { ...VOICE_CONSTRAINTS, deviceId: { ideal: deviceId } } : VOICE_CONSTRAINTS;
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    return /** @type {MediaStreamTrack} */ (stream.getAudioTracks()[0]);
  } catch (error) {
    throw microphoneError(error);
  }
}

/** @returns {Promise<MediaDeviceInfo[]>} microphones; without names until the page was let use one */
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter(({ kind, deviceId }) => kind === 'audioinput' && deviceId !== '');
}

/** @type {Record<string, [code: string, message: string]>} */
const REASONS = {
  NotAllowedError: ['denied', 'The page was not allowed to use the microphone'],
  SecurityError: ['denied', 'The page was not allowed to use the microphone'],
  NotFoundError: ['not_found', 'There is no microphone'],
  NotReadableError: ['busy', 'The microphone cannot be opened; another program may be using it'],
  AbortError: ['busy', 'The microphone cannot be opened; another program may be using it'],
};

/**
 * @param {unknown} cause thrown by getUserMedia
 * @returns {MicrophoneError}
 */
export function microphoneError(cause) {
  const name = cause instanceof Error || cause instanceof DOMException ? cause.name : '';
  const [code, message] = REASONS[name] ?? ['unavailable', `The microphone cannot be used: ${String(cause)}`];
  return new MicrophoneError(code, message, { cause });
}
