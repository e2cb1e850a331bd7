import { MicrophoneError } from './errors.js';

/**
 * Constraints for a voice that is classified: no echo of the far side, little noise, and a level that the browser does
 * not ride up and down.
 * @satisfies {MediaTrackConstraints}
 */
const VOICE_CONSTRAINTS = {
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
    throw isWithheld(error) ? new MicrophoneError('withheld', WITHHELD, { cause: error }) : microphoneError(error);
  }
}

const WITHHELD = 'The page that this one is in, or its server, does not let it use the microphone';

/**
 * Return whether nobody could have allowed it: the frame lacks `allow="microphone"`, or the server's Permissions-Policy forbids
 * it. Firefox and Safari do not tell; there, a frame of another origin that is refused counts.
 * @param {unknown} error of getUserMedia
 */
function isWithheld(error) {
  if (!(error instanceof DOMException) || error.name !== 'NotAllowedError' || !globalThis.document) return false;
  /** @type {{allowsFeature(feature: string): boolean} | undefined} */
  const policy = Reflect.get(document, 'permissionsPolicy') ?? Reflect.get(document, 'featurePolicy');
  return policy ? !policy.allowsFeature('microphone') : isInForeignFrame();
}

function isInForeignFrame() {
  try {
    return window.top?.location.origin !== window.location.origin;
  } catch {
    // The other origin's address cannot be read.
    return true;
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
function microphoneError(cause) {
  const name = cause instanceof Error || cause instanceof DOMException ? cause.name : '';
  const [code, message] = REASONS[name] ?? ['unavailable', `The microphone cannot be used: ${String(cause)}`];
  return new MicrophoneError(code, message, { cause });
}
