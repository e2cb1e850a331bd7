/** @typedef {import('./message-types.js').Message} Message */
/** @typedef {import('./message-types.js').Hello} Hello */
/** @typedef {import('./errors.js').VoxgenderError} VoxgenderError */
/** @typedef {import('./errors.js').MicrophoneError} MicrophoneError */
/** @typedef {import('./session.js').Transport} Transport */

/**
 * @typedef {'idle' | 'requesting-microphone' | 'connecting' | 'live' | 'reconnecting' | 'stopped' | 'failed'} State
 */
/**
 * @typedef {object} StateChange
 * @property {State} state
 * @property {Transport | null} transport how sound and messages travel; null where there is no session
 * @property {VoxgenderError | null} error why: with `failed`, and with `connecting` and `reconnecting` after a try failed
 * @property {number | null} retryMs how long until the next try; null while none is being waited for
 */
/**
 * Another session on the server is listened to from now on.
 * @typedef {object} SessionStart
 * @property {Hello} hello its own words
 * @property {number} resumedAt seconds of its audio that the session before it has told already; 0 for a fresh start
 */
/**
 * The input gives nothing, or sound again.
 * @typedef {object} InputChange
 * @property {MicrophoneError | null} error `interrupted` or `silent`: it gives nothing, though it is live; null: it is heard again
 */
/**
 * Each message of the server under its type (`docs/protocol.md`), and the client's own `state`, `session`, `track` and `input`.
 * `summary` comes once at the end and spans every session since `start`.
 * @typedef {{ [T in Message['type']]: Extract<Message, {type: T}> }
 *   & {state: StateChange, session: SessionStart, track: MediaStreamTrack, input: InputChange}} ClientEvents
 */

/**
 * @template {keyof ClientEvents} T
 */
export class ClientEvent extends Event {
  /**
   * @param {T} type
   * @param {ClientEvents[T]} detail
   * @param {string | null} [name]
   */
  constructor(type, detail, name = null) {
    super(type);
    this.detail = detail;
    /** Name of the voice that it is about; null where there is only one, or it is about all of them. */
    this.name = name;
  }
}
