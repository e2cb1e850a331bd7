import { queryOf } from './call-options.js';
import { Caller } from './caller.js';
import { VoxgenderError } from './errors.js';
import { ClientEvent } from './events.js';
import { Handover, NOTHING_TOLD } from './handover.js';
import { Microphone, inputOf } from './input.js';
import { abortable, deferred, wait } from './promises.js';
import { exponentialBackoff } from './reconnect-policy.js';
import { NOTHING_HEARD } from './tally.js';
import { Voices } from './voices.js';

/** @typedef {import('./message-types.js').Message} Message */
/** @typedef {import('./message-types.js').Hello} Hello */
/** @typedef {import('./message-types.js').Summary} Summary */
/** @typedef {import('./errors.js').MicrophoneError} MicrophoneError */
/** @typedef {import('./events.js').ClientEvents} ClientEvents */
/** @typedef {import('./events.js').State} State */
/** @typedef {import('./events.js').StateChange} StateChange */
/** @typedef {import('./reconnect-policy.js').ReconnectPolicy} ReconnectPolicy */
/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./session.js').Transport} Transport */
/** @typedef {import('./tap.js').VoiceTap} VoiceTap */
/** @typedef {import('./voices.js').Voice} Voice */

/** @typedef {MediaStream | MediaStreamTrack | import('./tap.js').VoiceTap} Source */
/** The voices of a room by their names, which are theirs in every message. @typedef {Readonly<Record<string, Source>>} Sources */

/** @typedef {import('./call-options.js').CallOptions} CallOptions */
/** @typedef {string | null | (() => string | null | Promise<string | null>)} Token */

/** Some tracks end without an event; how often they are looked at, besides with each message. */
const LOOK_EVERY_MS = 1_000;
/** After these browsers let a page give and take sound (https://html.spec.whatwg.org/#activation-triggering-input-event). */
const GESTURES = ['keydown', 'pointerup', 'touchend', 'click'];
/** A timer that is set to more goes off at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** The server's summary of a voice that has left comes sooner, if it comes. */
const SUMMARY_TIMEOUT_MS = 1_500;
/** A session that held this long was a good one; the next loss starts with a short wait again. */
const STABLE_MS = 10_000;

/** Not a module that is imported: the browser's audio thread loads it by its URL. */
const WORKLET_URL = new URL('./capture-worklet.js', import.meta.url);

/**
 * From `start` to its end, whichever way that comes.
 * @typedef {object} Run
 * @property {AbortController} controller aborted with an error when it failed, with no reason of ours when stopped
 * @property {Promise<void>} live
 * @property {Promise<Summary>} over
 * @property {Voices} voices
 */

/**
 * Sends a voice to a voxgender server and tells its label.
 *
 *     const client = new VoxgenderClient('/whip');
 *     client.addEventListener('result', ({ detail }) => console.log(detail.label, detail.confidence));
 *     await client.start();               // asks for the microphone
 *     const summary = await client.stop();
 *
 * A session that is lost is opened again, with growing waits and a fresh session each time, until `stop` or until an error
 * that no waiting heals. A server that asks its callers to go elsewhere is left for another one while it still listens:
 * `session` tells of it, `state` does not, and results, changes and segments go on as those of one call. Tracks that the
 * client opened are stopped with it; tracks that it was given are not.
 */
export class VoxgenderClient extends EventTarget {
  #token;
  #reconnectPolicy;
  #callerOptions;
  #caller;
  /** @type {State} */
  #state = 'idle';
  /** @type {Run | null} */
  #run = null;
  /** @type {Session | null} */
  #session = null;
  /** @type {Session | null} the one that is to take over */
  #successor = null;
  /** Those that are being opened. @type {Set<import('./session.js').Opening>} */
  #opening = new Set();
  #voices = new Voices(false);
  /** @type {string | null} */
  #deviceId = null;

  /**
   * @param {string | URL} endpoint the server's WHIP endpoint
   * @param {object} [options]
   * @param {Token} [options.token] is sent as a bearer; a function is asked for one before each call, as tokens expire
   * @param {RTCIceServer[]} [options.iceServers] add to those that the server advises
   * @param {RTCIceTransportPolicy} [options.iceTransportPolicy] `relay` goes by TURN servers alone
   * @param {'auto' | Transport} [options.transport] `auto` goes by a WebSocket where WebRTC finds no way through
   * @param {string | URL} [options.workletUrl] of the library's capture-worklet.js, where a bundler has put it elsewhere
   * @param {ReconnectPolicy} [options.reconnectPolicy] decides when a try that failed is followed by another one
   * @param {CallOptions['name']} [options.name] by which the call can be followed
   * @param {CallOptions['reference']} [options.reference] the name of the call in your own system
   * @param {CallOptions['tags']} [options.tags] words of your own, told back with the call
   * @param {CallOptions['hopMs']} [options.hopMs] time between two results: a multiple of the server's own hop
   * @param {CallOptions['messages']} [options.messages] that are wanted; all where left out. `total` counts by results: without
   *   them it has the sums of sessions that have ended well
   */
  constructor(endpoint, options = {}) {
    super();
    const { token = null, iceServers = [], iceTransportPolicy = 'all', transport = 'auto' } = options;
    const { workletUrl = WORKLET_URL, reconnectPolicy = exponentialBackoff() } = options;
    this.#token = token;
    this.#reconnectPolicy = reconnectPolicy;
    const query = queryOf(options);
    this.#callerOptions = { endpoint, query, iceServers, iceTransportPolicy, transport, workletUrl };
    this.#caller = new Caller(this.#callerOptions);
  }

  get state() {
    return this.#state;
  }

  /**
   * The transport of sound and messages; null without a session.
   * @returns {Transport | null}
   */
  get transport() {
    return this.#session?.transport ?? null;
  }

  /** The track that is being listened to, if any; null in a room. */
  get track() {
    return this.#voices.tracks.get(null) ?? null;
  }

  /** The tracks that are being listened to, by the names of their voices; an only voice has the name null. */
  get tracks() {
    return this.#voices.tracks;
  }

  /**
   * The running total of everything since `start`; after the end, the last summary.
   * @returns {Summary}
   */
  get total() {
    return this.#voices.total();
  }

  /**
   * The same of each voice of a room, by name; of those that have left, too.
   * @returns {ReadonlyMap<string, Summary>}
   */
  get totals() {
    return this.#voices.totals();
  }

  /**
   * Start listening. Starting twice is starting once.
   * @param {Source | Sources} [source] the microphone where left out; several voices by their names are a room, which
   *   goes by WebRTC alone
   * @returns {Promise<void>} resolves when live for the first time
   * @throws {VoxgenderError} it cannot work, and waiting will not change that
   * @throws {DOMException} `AbortError`: stopped before it was live
   */
  start(source) {
    const running = this.#running();
    if (running) return running.live;
    const controller = new AbortController();
    const live = /** @type {ReturnType<typeof deferred<void>>} */ (deferred());
    // The promise may be left alone: the `state` event tells the same.
    live.promise.catch(() => {});
    const voices = new Voices(isNamed(source));
    const before = this.#run;
    if (!before) this.#voices = voices;
    const over = this.#lead(source, controller, live, voices, before?.over);
    this.#run = { controller, live: live.promise, over, voices };
    return live.promise;
  }

  /**
   * Stop listening.
   * @returns {Promise<Summary | null>} of everything since `start`; null where nothing was running
   */
  async stop() {
    const run = this.#run;
    run?.controller.abort();
    return (await run?.over) ?? null;
  }

  /**
   * Listen to another track from now on, with no interruption.
   * @param {MediaStream | MediaStreamTrack | VoiceTap} track stays the caller's
   * @throws {VoxgenderError} nothing is running, or the track has ended already
   */
  async replaceTrack(track) {
    const run = this.#running();
    if (!run) throw new VoxgenderError('not_started', 'There is nothing to replace: start(track) first');
    if (run.voices.isRoom) throw new VoxgenderError('not_started', 'A room has several tracks: add(name, track)');
    await this.#replace(null, track, run);
  }

  /**
   * Listen to another voice from now on, in a room; or to another track of one that is there.
   * @param {string} name
   * @param {Source} source stays the caller's
   * @returns {Promise<void>} resolves when the server listens to it; at once while there is no session
   * @throws {VoxgenderError} no room is running, the name cannot be used, or the server takes no more voices
   */
  async add(name, source) {
    const run = this.#room();
    if (this.#voices.get(name)) return await this.#replace(name, source, run);
    const input = inputOf(source, this.#listenerFor(run, name));
    try {
      this.#voices.add(name).input = input;
      await this.#listenTo(name, input.track);
    } catch (error) {
      this.#voices.remove(name);
      input.release();
      // One of two sessions may have taken it. Whether that one answers is not waited for.
      this.#setTracks().catch(() => {});
      throw error;
    }
  }

  /**
   * Listen to a voice of a room no more. With the last one the room is over, as after `stop`.
   * @param {string} name
   * @returns {Promise<Summary | null>} of the voice since `start`; null where there is none of that name
   */
  async remove(name) {
    this.#room();
    if (!this.#voices.get(name)) return null;
    if (this.#voices.size === 1) await this.stop();
    else {
      const voice = this.#voices.remove(name);
      // Nothing of it is sent any more, whatever comes of this.
      await this.#setTracks().catch(() => {});
      if (this.#session) await Promise.race([voice?.summed.promise, wait(SUMMARY_TIMEOUT_MS)]);
    }
    return this.totals.get(name) ?? null;
  }

  /**
   * Use this microphone: now, if one is in use, and whenever one is asked for.
   * @param {string | null} deviceId as `enumerateDevices` has it; null for the browser's choice
   * @throws {MicrophoneError} it cannot be opened; the one in use stays
   */
  async useMicrophone(deviceId) {
    this.#deviceId = deviceId;
    const run = this.#running();
    const microphone = run?.voices.get(null)?.input;
    // One that is being asked for gives way by itself.
    if (!run || !(microphone instanceof Microphone) || !microphone.track) return;
    await abortable(microphone.use(deviceId), run.controller.signal);
  }

  /** @returns {Promise<number | null>} to the server and back, in milliseconds; null while unknown */
  async roundTripMs() {
    return (await this.#session?.roundTripMs()) ?? null;
  }

  /**
   * @template {keyof ClientEvents} T
   * @overload
   * @param {T} type
   * @param {(event: ClientEvent<T>) => void} listener
   * @param {AddEventListenerOptions | boolean} [options]
   * @returns {void}
   */
  /**
   * @overload
   * @param {string} type
   * @param {EventListenerOrEventListenerObject | null} listener
   * @param {AddEventListenerOptions | boolean} [options]
   * @returns {void}
   */
  /**
   * @param {string} type
   * @param {any} listener
   * @param {AddEventListenerOptions | boolean} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, listener, options);
  }

  /**
   * @param {Source | Sources | undefined} source
   * @param {AbortController} controller
   * @param {ReturnType<typeof deferred<void>>} live
   * @param {Voices} voices
   * @param {Promise<unknown>} [before] the run that is still ending
   * @returns {Promise<Summary>}
   */
  async #lead(source, controller, live, voices, before) {
    await before;
    const { signal } = controller;
    this.#voices = voices;
    this.#caller = new Caller(this.#callerOptions);
    const leave = () => {
      this.#session?.abandon();
      this.#successor?.abandon();
      controller.abort();
    };
    globalThis.addEventListener?.('pagehide', leave);
    globalThis.document?.addEventListener('visibilitychange', this.#look);
    const looking = setInterval(this.#look, LOOK_EVERY_MS);
    /** @type {unknown} */
    let reason;
    try {
      signal.throwIfAborted();
      await this.#open(source, { controller, voices });
      await this.#stayConnected(signal, live);
    } catch (error) {
      reason = error;
    }
    const stopped = signal.aborted && !(reason instanceof VoxgenderError);
    controller.abort();
    globalThis.removeEventListener?.('pagehide', leave);
    globalThis.document?.removeEventListener('visibilitychange', this.#look);
    clearInterval(looking);
    // The microphone's light goes out at once, not when the server has answered.
    this.#voices.release();
    this.#successor?.abandon();
    await this.#session?.close();
    this.#session = this.#successor = null;
    if (this.#run?.controller === controller) this.#run = null;
    const summary = this.total;
    this.#emit('summary', summary);
    if (stopped) this.#setState('stopped');
    else this.#setState('failed', { error: asVoxgenderError(reason) });
    live.reject(stopped ? reason : asVoxgenderError(reason));
    return summary;
  }

  /**
   * @param {Source | Sources | undefined} source
   * @param {Pick<Run, 'controller' | 'voices'>} run
   */
  async #open(source, run) {
    // It may have been replaced while the run before was ending.
    const replacement = run.voices.get(null)?.input;
    if (replacement) return await this.#listenTo(null, replacement.track);
    if (source) {
      const named = isNamed(source) ? Object.entries(source) : [/** @type {[null, Source]} */ ([null, source])];
      if (!named.length) throw new VoxgenderError('no_audio', 'There is no voice to listen to');
      for (const [name, one] of named) {
        // It may have been added a moment ago.
        if (this.#voices.get(name)) continue;
        const voice = this.#voices.add(name);
        voice.input = inputOf(one, this.#listenerFor(run, name));
        await this.#listenTo(name, voice.input.track);
      }
      return;
    }
    const voice = run.voices.add(null);
    const microphone = (voice.input = new Microphone(this.#listenerFor(run, null)));
    this.#setState('requesting-microphone');
    try {
      for (let asked; asked === undefined || (asked !== this.#deviceId && voice.input === microphone);) {
        asked = this.#deviceId;
        await abortable(microphone.use(asked), run.controller.signal);
      }
    } catch (error) {
      // A track that has taken its place does not need it.
      if (run.controller.signal.aborted || voice.input === microphone) throw error;
    }
  }

  /**
   * Never returns: throws an error that does not heal, or the signal's reason.
   * @param {AbortSignal} signal
   * @param {ReturnType<typeof deferred<void>>} live
   */
  async #stayConnected(signal, live) {
    /** @type {'connecting' | 'reconnecting'} */
    let state = 'connecting';
    /** @type {VoxgenderError | null} */
    let error = null;
    for (let failures = 0; ; failures += 1) {
      this.#setState(state, { error });
      this.#voices.forget();
      try {
        this.#session = await this.#call(signal, (message) => this.#receive(message), { resume: true });
        const sinceMs = performance.now();
        state = 'reconnecting';
        this.#setState('live');
        live.resolve();
        error = await this.#moveWhenNeeded(signal);
        this.#caller.leave(this.#session);
        this.#session.abandon();
        this.#session = null;
        if (performance.now() - sinceMs > STABLE_MS) failures = 0;
      } catch (thrown) {
        signal.throwIfAborted();
        error = asVoxgenderError(thrown);
      }
      const retryMs = this.#retryMs(failures, error);
      if (retryMs === null) throw error;
      this.#setState(state, { error, retryMs });
      await pauseUnlessNews(retryMs, error, signal);
    }
  }

  /**
   * Place one call.
   * @param {AbortSignal} signal
   * @param {(message: Message) => void} onmessage
   * @param {{resume: boolean}} options
   */
  async #call(signal, onmessage, { resume }) {
    const token = await abortable(askForToken(this.#token), signal);
    const session = await this.#caller
      .call(this.#voices.tracks, {
        token,
        signal,
        onmessage,
        onopening: (opening) => this.#opening.add(opening),
        onsound: this.#look,
        resume,
      })
      .finally(() => this.#opening.clear());
    // The tracks may have been replaced while the session was being opened, and while it was told so.
    try {
      for (let told; !told || !isSame(told, this.#voices.tracks);) {
        told = this.#voices.tracks;
        await session.setTracks(told);
      }
    } catch (error) {
      session.abandon();
      throw error;
    }
    return session;
  }

  /**
   * Stay with the session. Leave it for another one when its server asks for that, and when it is heard no more.
   * @param {AbortSignal} signal
   * @returns {Promise<VoxgenderError>} why the session was lost
   */
  async #moveWhenNeeded(signal) {
    for (;;) {
      const session = /** @type {Session} */ (this.#session);
      const leave = Promise.race([session.draining, session.unheard]).then(() => null);
      const error =
        (await abortable(Promise.race([session.lost, leave]), signal)) ?? (await this.#move(session, signal));
      if (error) return error;
    }
  }

  /**
   * Leave a session for another one: make before break. While no other can be had it is stayed with.
   * @param {Session} old
   * @param {AbortSignal} signal
   * @returns {Promise<VoxgenderError | null>} why the session was lost; null where another one took over
   */
  async #move(old, signal) {
    const sayWhy = (/** @type {VoxgenderError} */ error) => {
      if (this.#session === old && !signal.aborted) this.#setState('reconnecting', { error });
    };
    old.lost.then(sayWhy);
    old.unheard.then((error) => {
      if (this.#state === 'live') sayWhy(error);
    });
    for (let failures = 0; ; failures += 1) {
      /** @type {Promise<VoxgenderError | null>[]} */
      const next = [old.lost];
      try {
        await this.#takeOver(old, signal);
        return null;
      } catch (thrown) {
        signal.throwIfAborted();
        const error = asVoxgenderError(thrown);
        const retryMs = this.#retryMs(failures, error);
        if (retryMs !== null) next.push(pauseUnlessNews(retryMs, error, signal).then(() => null));
        if (this.#state !== 'live') this.#setState('reconnecting', { error, retryMs });
      }
      const lost = await abortable(Promise.race(next), signal);
      if (lost) return lost;
    }
  }

  /**
   * Place another call beside the old one, and end that as soon as the other hears as much.
   * @param {Session} old
   * @param {AbortSignal} signal
   * @throws {VoxgenderError} the other call could not be had, or was lost before it could take over
   */
  async #takeOver(old, signal) {
    const handover = new Handover({
      names: [...this.#voices].map(({ name }) => name),
      latestOf: (name) => this.#voices.get(name)?.latest ?? NOTHING_TOLD,
    });
    let unheard = false;
    old.unheard.then(() => {
      unheard = true;
      handover.hurry();
    });
    try {
      const fresh = (this.#successor = await this.#call(signal, (message) => handover.take(message), {
        resume: false,
      }));
      const useless = Promise.race([fresh.lost, fresh.unheard]).then((error) => Promise.reject(error));
      await abortable(Promise.race([handover.ready, old.lost, useless]), signal);
      // Its last segment and its summary come before anything of the other one, if they can come at all.
      if (unheard) old.abandon();
      else await abortable(old.close(), signal);
      this.#session = fresh;
    } catch (error) {
      handover.cancel();
      this.#successor?.abandon();
      throw error;
    } finally {
      this.#successor = null;
    }
    if (this.#state !== 'live' || this.transport !== old.transport) this.#setState('live');
    handover.finish({
      onresume: (resumption) => this.#resume(resumption),
      onmessage: (message) => this.#receive(message),
    });
  }

  /**
   * @param {number} failures
   * @param {VoxgenderError} error
   * @returns {number | null} how long to wait before the next try; null for none
   */
  #retryMs(failures, error) {
    const waitMs = this.#reconnectPolicy({ failures, error });
    if (waitMs === null || !Number.isFinite(waitMs)) return null;
    return Math.min(Math.max(0, waitMs), LONGEST_TIMER_MS);
  }

  /** @param {Message} message */
  #receive(message) {
    this.#caller.observe(message);
    this.#voices.observe(message);
    this.#voices.look();
    const voice = this.#voices.of(message);
    // With no track to listen to there is no sound to miss.
    if (message.type === 'warning' && message.code === 'no_media' && !voice?.input?.track) return;
    // Nothing had been heard of a session that was still there, and now it is heard again.
    if (message.type === 'result' && this.#state === 'reconnecting') this.#setState('live');
    if (message.type !== 'summary') this.#emit(message.type, message, voice?.name);
    if (message.type === 'hello') this.#begin(message, this.#caller.startS);
  }

  /**
   * @param {Hello} hello
   * @param {number} resumedAt
   */
  #begin(hello, resumedAt) {
    this.#caller.begin(resumedAt);
    if (resumedAt) this.#voices.get(null)?.tally.resume({ resumedAt, told: NOTHING_HEARD });
    this.#emit('session', { hello, resumedAt });
  }

  /** @param {import('./handover.js').Resumption} resumption */
  #resume({ hello, resumedAt, told }) {
    this.#caller.begin(resumedAt);
    this.#voices.greet(hello);
    for (const [name, part] of told) this.#voices.get(name)?.tally.resume(part);
    this.#emit('hello', hello);
    this.#emit('session', { hello, resumedAt });
  }

  /**
   * @param {Pick<Run, 'controller' | 'voices'>} run that the input is for
   * @param {string | null} name of its voice
   * @returns {import('./input.js').InputListener}
   */
  #listenerFor({ controller, voices }, name) {
    return {
      // A session that cannot be told so offers anew by itself.
      ontrack: (track) => {
        if (voices === this.#voices) this.#listenTo(name, track).catch(() => {});
      },
      onproblem: (error) => this.#emit('input', { error }, name),
      // A given track that comes to its end is as good as `stop`, or as `remove` in a room.
      onend: (error) => {
        if (name !== null && this.#voices.size > 1 && !controller.signal.aborted) this.remove(name).catch(() => {});
        else if (error) controller.abort(error);
        else controller.abort();
      },
    };
  }

  /**
   * @param {string | null} name
   * @param {Source} source
   * @param {Run} run
   */
  async #replace(name, source, run) {
    const input = inputOf(source, this.#listenerFor(run, name));
    const voice = run.voices.get(name) ?? run.voices.add(name);
    voice.input?.release();
    voice.input = input;
    // A run that waits for the end of the one before listens to it when its turn comes.
    if (run.voices === this.#voices) await this.#listenTo(name, input.track);
  }

  /**
   * @param {string | null} name
   * @param {MediaStreamTrack | null} track null for nothing at the moment
   */
  async #listenTo(name, track) {
    if (track) this.#emit('track', track, name);
    await this.#setTracks();
  }

  async #setTracks() {
    const { tracks } = this.#voices;
    for (const session of this.#opening) session.replaceTracks(tracks).catch(() => {});
    await Promise.all([this.#session?.setTracks(tracks), this.#successor?.setTracks(tracks)]);
  }

  /** The run that has not been stopped, and takes other tracks. It may still wait for the end of the one before. */
  #running() {
    return this.#run?.controller.signal.aborted ? null : this.#run;
  }

  /** @returns {Run} */
  #room() {
    const run = this.#running();
    // One that waits takes voices once the one before is over.
    if (run?.voices === this.#voices && run.voices.isRoom) return run;
    throw new VoxgenderError('not_started', 'There is no room: start({ name: track }) first');
  }

  #look = () => this.#voices.look();

  /**
   * @param {State} state
   * @param {Partial<StateChange>} [detail]
   */
  #setState(state, { error = null, retryMs = null } = {}) {
    this.#state = state;
    this.#emit('state', { state, transport: this.transport, error, retryMs });
  }

  /**
   * @template {keyof ClientEvents} T
   * @param {T} type
   * @param {ClientEvents[T]} detail
   * @param {string | null} [name]
   */
  #emit(type, detail, name) {
    this.dispatchEvent(new ClientEvent(type, detail, name));
  }
}

/**
 * Return whether several voices were given by their names.
 * @param {Source | Sources | undefined} source
 * @returns {source is Sources}
 */
function isNamed(source) {
  const one = /** @type {any} */ (source);
  return Boolean(one) && ![typeof one.getAudioTracks, typeof one.sync, typeof one.stop].includes('function');
}

/**
 * @param {Token} token
 * @returns {Promise<string | null>}
 * @throws {VoxgenderError} `no_token`: the function that was to give one failed
 */
async function askForToken(token) {
  try {
    return typeof token === 'function' ? await token() : token;
  } catch (cause) {
    throw new VoxgenderError('no_token', `There is no token to show: ${String(cause)}`, { heals: true, cause });
  }
}

/** @param {unknown} thrown */
function asVoxgenderError(thrown) {
  if (thrown instanceof VoxgenderError) return thrown;
  return new VoxgenderError('unexpected', String(thrown), { cause: thrown });
}

/**
 * @param {number} ms cut short when the network comes back, or the user does what the browser waits for
 * @param {VoxgenderError} error why there is a pause
 * @param {AbortSignal} signal
 */
async function pauseUnlessNews(ms, error, signal) {
  const news = error.code === 'asleep' ? ['online', ...GESTURES] : ['online'];
  /** @type {ReturnType<typeof deferred<void>>} */
  const { promise, resolve } = deferred();
  const goOn = () => resolve();
  const timer = setTimeout(goOn, ms);
  for (const name of news) globalThis.addEventListener?.(name, goOn, true);
  try {
    await abortable(promise, signal);
  } finally {
    clearTimeout(timer);
    for (const name of news) globalThis.removeEventListener?.(name, goOn, true);
  }
}

/**
 * @param {import('./session.js').Tracks} one
 * @param {import('./session.js').Tracks} other
 */
function isSame(one, other) {
  return one.size === other.size && [...one].every(([name, track]) => other.has(name) && other.get(name) === track);
}
