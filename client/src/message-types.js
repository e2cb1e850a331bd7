// Written by tools/message-types.js from docs/protocol.schema.json, which docs/protocol.md explains. Do not edit.

/** @typedef {string} Label A label of the model, `uncertain` or `no_speech`. */

/**
 * First message on every channel: the model that listens, its labels, window and hop.
 * @typedef {object} Hello
 * @property {'hello'} type
 * @property {1} v
 * @property {number} [channel] Channel of a room or of a stream that has several, counted from 0; each is judged apart.
 * @property {string} session
 * @property {string} model
 * @property {string[]} [labels]
 * @property {number} window_ms
 * @property {number} hop_ms
 * @property {number} [channels] How many channels are judged apart, if several, or in a room.
 * @property {NamedVoice[]} [voices] The voices of a room, as they are when the message is sent.
 * @property {string} [name] Name of the call, or of a voice of a room, if it was given one.
 * @property {string} [reference] The name of the call in the caller's own system, if that was told.
 * @property {string[]} [tags] Tags of the call, if it has any.
 * @property {string[]} [messages] Types of messages that are told, of those that can be chosen, if not all.
 * @property {Limits} [limits]
 * @property {number} [windows_per_s] Windows of this call that are classified in a second of speech.
 */

/**
 * A voice of a room: one of its audio lines.
 * @typedef {object} NamedVoice
 * @property {number} channel Channel of a room or of a stream that has several, counted from 0; each is judged apart.
 * @property {string} mid Name of the voice's media line in a room's offer (a=mid).
 * @property {string} [name] Name of the call, or of a voice of a room, if it was given one.
 */

/**
 * The bounds of a call.
 * @typedef {object} Limits
 * @property {number} hop_step_ms The server's own hop; a call's is a multiple of it.
 * @property {number} max_hop_ms The longest hop that a call may ask for.
 * @property {number} max_voices Voices that a call may have.
 * @property {number} max_followers Readers that the call may have at a time.
 * @property {number} silence_s With nothing from the client for so long the call ends.
 * @property {number} messages_per_s Messages without audio that the client may send.
 * @property {number} [longest_s] Time after which the call ends, if there is one.
 */

/**
 * The label at the end of a hop. A result may be lost on the way: the next one replaces it.
 * @typedef {object} Result
 * @property {'result'} type
 * @property {1} v
 * @property {number} [channel] Channel of a room or of a stream that has several, counted from 0; each is judged apart.
 * @property {string} [mid] Name of the voice's media line in a room's offer (a=mid).
 * @property {string} [name] Name of the call, or of a voice of a room, if it was given one.
 * @property {number} seq
 * @property {number} start Seconds of this call's audio.
 * @property {number} end Seconds of this call's audio.
 * @property {string} label
 * @property {number} confidence
 * @property {Record<string, number> | null} scores
 * @property {number} latency_ms Milliseconds.
 * @property {Record<string, number>} [stages_ms]
 */

/**
 * The voice heard has changed; the first voice of a call changes from `no_speech`.
 * @typedef {object} Change
 * @property {'change'} type
 * @property {1} v
 * @property {number} [channel] Channel of a room or of a stream that has several, counted from 0; each is judged apart.
 * @property {string} [mid] Name of the voice's media line in a room's offer (a=mid).
 * @property {string} [name] Name of the call, or of a voice of a room, if it was given one.
 * @property {number} at Seconds of this call's audio.
 * @property {string} from
 * @property {string} to
 * @property {number} confidence
 */

/**
 * A finished stretch of one voice.
 * @typedef {object} Segment
 * @property {'segment'} type
 * @property {1} v
 * @property {number} [channel] Channel of a room or of a stream that has several, counted from 0; each is judged apart.
 * @property {string} [mid] Name of the voice's media line in a room's offer (a=mid).
 * @property {string} [name] Name of the call, or of a voice of a room, if it was given one.
 * @property {number} start Seconds of this call's audio.
 * @property {number} end Seconds of this call's audio.
 * @property {string} label
 * @property {number} confidence
 */

/**
 * The whole call in seconds; the last message. `segments` is a count, `others` by label.
 * @typedef {object} Summary
 * @property {'summary'} type
 * @property {1} v
 * @property {number} [channel] Channel of a room or of a stream that has several, counted from 0; each is judged apart.
 * @property {string} [mid] Name of the voice's media line in a room's offer (a=mid).
 * @property {string} [name] Name of the call, or of a voice of a room, if it was given one.
 * @property {number} duration Seconds of this call's audio.
 * @property {number} speech Seconds of this call's audio.
 * @property {number} male Seconds of this call's audio.
 * @property {number} female Seconds of this call's audio.
 * @property {number} uncertain Seconds of this call's audio.
 * @property {number} segments
 * @property {Record<string, number>} [others]
 * @property {string[]} [tags] Tags of the call, if it has any.
 * @property {string} [subject] Subject of the caller's token, if it has one.
 * @property {Usage} [usage]
 */

/**
 * Audio and speech of a call, all of its voices or channels together.
 * @typedef {object} Usage
 * @property {number} audio_s Seconds of audio that was analysed.
 * @property {number} speech_s Seconds of speech in it.
 */

/**
 * Something a user may want to know; the call goes on.
 * @typedef {object} Warning
 * @property {'warning'} type
 * @property {1} v
 * @property {number} [channel] Channel of a room or of a stream that has several, counted from 0; each is judged apart.
 * @property {string} [mid] Name of the voice's media line in a room's offer (a=mid).
 * @property {string} [name] Name of the call, or of a voice of a room, if it was given one.
 * @property {string} code For programs: overloaded, no_media, low_level, draining, …
 * @property {string} message
 * @property {number} [windows_per_s] Windows of this call that are classified in a second of speech.
 */

/**
 * The call ends after this.
 * @typedef {object} ErrorMessage
 * @property {'error'} type
 * @property {1} v
 * @property {number} [channel] Channel of a room or of a stream that has several, counted from 0; each is judged apart.
 * @property {string} code
 * @property {string} message
 */

/**
 * A call has begun. Told to followers of a name or a subject and to webhooks, not to the call itself.
 * @typedef {object} Start
 * @property {'start'} type
 * @property {1} v
 * @property {number} [channel] Channel of a room or of a stream that has several, counted from 0; each is judged apart.
 * @property {string} [name] Name of the call, or of a voice of a room, if it was given one.
 * @property {string} [subject] Subject of the caller's token, if it has one.
 * @property {string} [reference] The name of the call in the caller's own system, if that was told.
 * @property {string[]} [tags] Tags of the call, if it has any.
 */

/**
 * A call has ended, and nothing more is told of it. Told to followers and webhooks, not to the call itself.
 * @typedef {object} End
 * @property {'end'} type
 * @property {1} v
 * @property {number} [channel] Channel of a room or of a stream that has several, counted from 0; each is judged apart.
 * @property {string} reason
 */

/** @typedef {Hello | Result | Change | Segment | Summary | Warning | ErrorMessage | Start | End} Message */

/** The types of message in this version. */
export const MESSAGE_TYPES = ['hello', 'result', 'change', 'segment', 'summary', 'warning', 'error', 'start', 'end'];
