// A call of a few tabs of one browser, each connected with each other one, as a video-call tool has its own. It knows
// nothing of voxgender.

import { hold, released } from './locks.js';
import { MeshLink } from './mesh-link.js';

/** The number of members that a call has room for. */
export const SEATS = 4;

/** @typedef {import('./mesh-link.js').LinkSignal} LinkSignal */

/**
 * `join` is told to all, everything else to one member. `from` names a member's tab from its joining to its leaving.
 * @typedef {{from: string, seat: number, to?: string} & ({type: 'join'} | {type: 'here'} | LinkSignal)} Signal
 */

/**
 * Another member of the call, connected with this one.
 * @typedef {{seat: number, stream: MediaStream}} Guest
 */

/**
 * A member's note for the others.
 * @typedef {{seat: number, note: unknown}} Note
 */

/**
 * A member's side of the call. Events: `guests` when somebody has come or gone, `note` with a `Note` in `detail`.
 *
 * A seat and a member are locks that the member's tab holds. So two who come at the same time get two seats, and the
 * others learn at once that a tab is gone, however it went.
 */
export class MeshCall extends EventTarget {
  #room;
  /** From 1. */
  seat;
  #me = crypto.randomUUID();
  /** @type {(() => void)[]} */
  #release;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {BroadcastChannel | null} */
  #signals = null;
  /** @type {Map<string, {seat: number, link: MeshLink}>} */
  #members = new Map();
  #leaving = new AbortController();

  /**
   * @param {string} room
   * @param {number} seat
   * @param {() => void} release gives the seat back
   */
  constructor(room, seat, release) {
    super();
    this.#room = room;
    this.seat = seat;
    this.#release = [release];
  }

  /**
   * Take a seat. Nobody hears of it before `enter`.
   * @param {string} room
   * @returns {Promise<MeshCall | null>} null where all seats are taken
   */
  static async sit(room) {
    for (let seat = 1; seat <= SEATS; seat += 1) {
      const release = await hold(seatLock(room, seat));
      if (release) return new MeshCall(room, seat, release);
    }
    return null;
  }

  /**
   * Wait until somebody has left a full call.
   * @param {string} room
   * @param {AbortSignal} signal ends the waiting
   * @returns {Promise<boolean>} false where the waiting was ended
   */
  static async seatIsFree(room, signal) {
    const waiting = new AbortController();
    signal.addEventListener('abort', () => waiting.abort());
    const seats = Array.from({ length: SEATS }, (_, index) => released(seatLock(room, index + 1), waiting.signal));
    const isFree = await Promise.race(seats);
    waiting.abort();
    return isFree;
  }

  /** The members that can be heard now, in the order of their seats. @returns {Guest[]} */
  get guests() {
    const guests = [...this.#members.values()].flatMap(({ seat, link: { stream } }) =>
      stream ? { seat, stream } : [],
    );
    return guests.sort((one, other) => one.seat - other.seat);
  }

  /**
   * Meet the others.
   * @param {MediaStreamTrack} track what they hear
   */
  async enter(track) {
    this.#track = track;
    const release = await hold(memberLock(this.#me));
    if (release) this.#release.push(release);
    if (this.#leaving.signal.aborted) return release?.();
    this.#signals = new BroadcastChannel(`call:${this.#room}`);
    this.#signals.onmessage = ({ data }) => this.#take(data);
    this.#send({ type: 'join' });
  }

  /** @param {MediaStreamTrack} track what the others hear from now on */
  async replaceTrack(track) {
    this.#track = track;
    await Promise.all([...this.#members.values()].map(({ link }) => link.replaceTrack(track)));
  }

  /** @param {unknown} value JSON for all others; it may be lost on the way */
  note(value) {
    for (const { link } of this.#members.values()) link.note(value);
  }

  leave() {
    if (this.#leaving.signal.aborted) return;
    this.#leaving.abort();
    this.#signals?.close();
    for (const { link } of this.#members.values()) link.close();
    this.#members.clear();
    for (const release of this.#release) release();
  }

  /** @param {Signal} signal */
  #take(signal) {
    const { from, seat, to } = signal;
    if (to && to !== this.#me) return;
    if (signal.type === 'join') this.#send({ type: 'here' }, from);
    const link = this.#members.get(from)?.link ?? this.#meet(from, seat);
    if (signal.type !== 'join' && signal.type !== 'here') link.take(signal);
  }

  /**
   * @param {string} member
   * @param {number} seat
   */
  #meet(member, seat) {
    const link = new MeshLink({
      // Both ends compare the same two names, so exactly one of them dials.
      dials: this.#me < member,
      track: /** @type {MediaStreamTrack} */ (this.#track),
      send: (signal) => this.#send(signal, member),
      onchange: () => this.dispatchEvent(new Event('guests')),
      onnote: (note) => this.dispatchEvent(new CustomEvent('note', { detail: { seat, note } })),
    });
    this.#members.set(member, { seat, link });
    this.#partWhenGone(member, link);
    return link;
  }

  /**
   * @param {string} member
   * @param {MeshLink} link
   */
  async #partWhenGone(member, link) {
    if (!(await released(memberLock(member), this.#leaving.signal))) return;
    this.#members.delete(member);
    link.close();
  }

  /**
   * @param {{type: 'join' | 'here'} | LinkSignal} signal
   * @param {string} [to]
   */
  #send(signal, to) {
    // A tab that has left the call tells it nothing more.
    if (this.#leaving.signal.aborted) return;
    this.#signals?.postMessage({ ...signal, from: this.#me, seat: this.seat, to });
  }
}

/**
 * @param {string} room
 * @param {number} seat
 */
function seatLock(room, seat) {
  return `call:${room}:seat:${seat}`;
}

/** @param {string} member */
function memberLock(member) {
  return `call:member:${member}`;
}
