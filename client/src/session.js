/** @typedef {import('./errors.js').VoxgenderError} VoxgenderError */

/**
 * The transport of sound and messages.
 * @typedef {'webrtc' | 'websocket'} Transport
 */

/**
 * The track of each voice by its name, null while it has none. An only voice has the name null.
 * @typedef {ReadonlyMap<string | null, MediaStreamTrack | null>} Tracks
 */

/**
 * One session on the server, from its opening to its end. It is never reused: after a loss another one is opened.
 * @typedef {object} Session
 * @property {Transport} transport
 * @property {Promise<VoxgenderError>} lost resolves, with the reason, when it is over without having been closed here
 * @property {Promise<void>} draining resolves when the server asks it to go elsewhere. It lives on for a while
 * @property {Promise<VoxgenderError>} unheard resolves, with the reason, when nothing is heard of it though it may live
 * @property {number} [untoldS] seconds of its clock that were sent, where another session can go on from there and no results
 *   tell how much was heard; 0 where they do
 * @property {(tracks: Tracks) => Promise<void>} setTracks listens to these voices from now on, and to no others; null
 *   sends silence, or nothing. Throws where the server takes no more voices: then nothing has changed
 * @property {() => Promise<number | null>} roundTripMs to the server and back; null while unknown
 * @property {() => Promise<void>} close end well: the server's last messages come before this resolves, if they come soon
 * @property {() => Promise<void>} abandon end at once; resolves when the server has been told
 */

/**
 * A session that is being opened, and may send sound already.
 * @typedef {object} Opening
 * @property {(tracks: Tracks) => Promise<void>} replaceTracks sends these tracks by the lines that are there already, and nothing
 *   by those of other voices
 */

export {};
