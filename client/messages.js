// What the server says, on the data channels and as server-sent events. Times are seconds of the call's audio
// unless a name ends in _ms. Unknown fields are ignored; a breaking change raises `v`.

/** @typedef {'male' | 'female' | 'uncertain' | 'no_speech'} Label */

/**
 * First on every channel: what is listening, and how it listens. `from` is the client's own: where this call took over
 * from another one, the seconds of its audio that the other one has told.
 * @typedef {{v: 1, type: 'hello', session: string, model: string, labels: Label[],
 *            window_ms: number, hop_ms: number, from?: number}} Hello
 */
/**
 * What is heard now; one each hop. `scores` are one window's raw probabilities, null where nothing was classified.
 * `latency_ms` runs from the arrival of the window's last packet to the send.
 * @typedef {{v: 1, type: 'result', seq: number, start: number, end: number, label: Label, confidence: number,
 *            scores: {male: number, female: number} | null, latency_ms: number,
 *            stages_ms?: Record<string, number>}} Result
 */
/**
 * The voice heard has changed.
 * @typedef {{v: 1, type: 'change', at: number, from: Label, to: Label, confidence: number}} Change
 */
/**
 * A finished stretch of one voice.
 * @typedef {{v: 1, type: 'segment', start: number, end: number, label: Label, confidence: number}} Segment
 */
/**
 * The whole call in seconds; `segments` is a count.
 * @typedef {{v: 1, type: 'summary', duration: number, speech: number, male: number, female: number,
 *            uncertain: number, segments: number}} Summary
 */
/**
 * Something a user may want to know; the call goes on.
 * @typedef {{v: 1, type: 'warning', code: string, message: string}} Warning
 */
/**
 * The call ends after this.
 * @typedef {{v: 1, type: 'error', code: string, message: string}} Failure
 */
/** @typedef {Hello | Result | Change | Segment | Summary | Warning | Failure} Message */

const TYPES = new Set(['hello', 'result', 'change', 'segment', 'summary', 'warning', 'error']);

/**
 * Read one message.
 * @param {unknown} data what arrived on a channel
 * @returns {Message | null} null where it is no message of this version, or of a type not known here
 */
export function parse(data) {
  if (typeof data !== 'string') return null;
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    return null;
  }
  return message?.v === 1 && TYPES.has(message.type) ? message : null;
}
