// The page: one client, and the parts that show what it says.

import { VoxgenderClient } from 'voxgender';

import { Announcer } from './announcer.js';
import { CallClock } from './call-clock.js';
import { CallTimeline } from './call-timeline.js';
import { byId, enablePage, write } from './dom.js';
import { acceptDrops } from './file-drop.js';
import { LabelRuns } from './label-runs.js';
import { LANGUAGES, explainError, preferredLanguage, rememberLanguage, speakLanguage, words } from './language.js';
import { LatencyReadout } from './latency-readout.js';
import { LiveTimeline } from './live-timeline.js';
import { MicrophonePicker } from './microphone-picker.js';
import { Notice } from './notice.js';
import { findObstacle, watchPermission } from './readiness.js';
import { Recording } from './recording.js';
import { Shares } from './shares.js';
import { STATUS, TRANSPORTS, isRunning } from './state-words.js';
import { TextStream } from './text-stream.js';
import { TokenForm } from './token-form.js';
import { TranscriptMenu } from './transcript-menu.js';
import { VoicePanel } from './voice-panel.js';

const SAMPLE_URL = new URL('./sample.mp3', import.meta.url);

class Page {
  #client;
  /** @type {string | null} */
  #token;
  #runs = new LabelRuns();
  /** @type {Recording | null} */
  #recording = null;

  #clock = new CallClock();
  #voice = new VoicePanel({
    panel: byId('now'),
    eyebrow: byId('eyebrow'),
    word: byId('word'),
    sure: byId('sure'),
    bar: byId('bar'),
  });
  #announcer = new Announcer(byId('announcer'));
  #notice = new Notice({ box: byId('notice'), title: byId('notice-title'), advice: byId('notice-advice') });
  #timeline = new LiveTimeline({ canvas: byId('timeline'), level: byId('level'), clock: this.#clock });
  #wholeCall = new CallTimeline(
    { canvas: byId('call'), readout: byId('reading'), zoomIn: byId('zoom-in'), zoomOut: byId('zoom-out') },
    () => this.#runs,
  );
  #stream = new TextStream(byId('stream'));
  #transcript = new TranscriptMenu(
    { format: byId('format'), copy: byId('copy'), save: byId('save'), byHand: byId('by-hand') },
    () => this.#runs,
  );
  #shares = new Shares({
    bars: { female: byId('bar-female'), male: byId('bar-male'), uncertain: byId('bar-uncertain') },
    figures: { female: byId('share-female'), male: byId('share-male'), uncertain: byId('share-uncertain') },
    speech: byId('speech'),
    bar: byId('shares'),
    list: byId('figures'),
  });
  #latency;
  #picker;
  #tokenForm = new TokenForm({ form: byId('token-form'), field: byId('token') }, (token) => {
    this.#token = token;
    this.#begin();
  });

  /**
   * A server with a token is opened as `…/#token=…`; no browser sends the part after `#` to any server. `relay=only`
   * goes by the server's TURN server alone, `transport=websocket` with no WebRTC, to see whether that works.
   * @param {URLSearchParams} fragment
   */
  constructor(fragment) {
    this.#token = fragment.get('token');
    this.#client = new VoxgenderClient(new URL('../whip', import.meta.url), {
      token: () => this.#token,
      iceTransportPolicy: fragment.get('relay') === 'only' ? 'relay' : 'all',
      transport: fragment.get('transport') === 'websocket' ? 'websocket' : 'auto',
    });
    this.#latency = new LatencyReadout(byId('latency'), this.#client);
    this.#picker = new MicrophonePicker(byId('microphone'), this.#client, (error) => this.#notice.showError(error));
    this.#follow();
    this.#listen();
    this.#offerLanguages();
    this.#showState();
    this.#showObstacle();
    this.#picker.refresh();
    watchPermission(() => this.#showObstacle());
  }

  /** Show what the client says. */
  #follow() {
    const client = this.#client;
    client.addEventListener('state', ({ detail }) => this.#changeState(detail));
    client.addEventListener('track', ({ detail }) => {
      this.#timeline.listenTo(detail);
      this.#picker.refresh();
    });
    client.addEventListener('session', ({ detail }) => {
      this.#clock.startSession();
      this.#timeline.startSession(detail);
      this.#runs.freeze();
      const { labels = [] } = detail.hello;
      this.#shares.showLabels(labels);
      byId('key').hidden = !(labels.includes('male') && labels.includes('female'));
    });
    client.addEventListener('result', ({ detail }) => {
      this.#clock.observe(detail.end);
      this.#voice.showResult(detail);
      this.#announcer.hear(detail.label);
      this.#runs.add(this.#clock.place(detail.end), detail.label, detail.confidence);
      this.#timeline.add(detail);
      this.#latency.add(detail);
      this.#shares.show(client.total);
      this.#showRuns();
    });
    client.addEventListener('segment', ({ detail }) => {
      const [start, end] = [this.#clock.place(detail.start), this.#clock.place(detail.end)];
      this.#runs.settle({ ...detail, start, end });
      this.#showRuns();
    });
    client.addEventListener('input', ({ detail }) => this.#notice.showInput(detail));
    client.addEventListener('warning', ({ detail }) => {
      this.#notice.showWarning(detail);
      if (detail.code === 'low_level') this.#timeline.sayTooQuiet();
    });
  }

  /** Do what people ask for. */
  #listen() {
    byId('toggle').addEventListener('click', () => {
      if (isRunning(this.#client.state)) this.#client.stop();
      else this.#begin();
    });
    byId('sample').addEventListener('click', () => this.#playSample());
    /** @type {HTMLInputElement} */
    const chooser = byId('file');
    chooser.addEventListener('change', () => {
      const [file] = chooser.files ?? [];
      if (file) this.#play(file, file.name);
      // The same file may be chosen again.
      chooser.value = '';
    });
    acceptDrops(byId('drop'), (file) => {
      if (file) this.#play(file, file.name);
      else this.#notice.showProblem(words().noFileDropped, words().noFileDroppedAdvice);
    });
  }

  #offerLanguages() {
    /** @type {HTMLSelectElement} */
    const select = byId('language');
    select.replaceChildren(...Object.entries(LANGUAGES).map(([tag, name]) => new Option(name, tag)));
    select.value = document.documentElement.lang;
    select.addEventListener('change', async () => {
      const chosen = /** @type {keyof typeof LANGUAGES} */ (select.value);
      rememberLanguage(chosen);
      await speakLanguage(chosen);
      this.#showState();
      this.#showRuns();
      this.#picker.refresh();
      this.#timeline.translate();
      this.#transcript.translate();
      this.#latency.show();
      this.#showObstacle();
    });
  }

  /** @param {MediaStreamTrack} [track] the microphone where left out */
  async #begin(track) {
    this.#clock.reset();
    this.#timeline.clear();
    this.#runs = new LabelRuns();
    this.#showRuns();
    this.#wholeCall.clear();
    this.#latency.clear();
    write(byId('transport'), '–');
    // The `state` event tells of a start that fails.
    await this.#client.start(track).catch(() => {});
  }

  async #playSample() {
    try {
      const response = await fetch(SAMPLE_URL);
      if (!response.ok) throw new Error(`The server answered ${response.status} for the sample.`);
      await this.#play(await response.blob(), words().sampleName);
    } catch (error) {
      this.#notice.showError(/** @type {Error} */ (error));
    }
  }

  /**
   * Play a file in the place of the microphone, and stop at its end.
   * @param {Blob} file
   * @param {string} name
   */
  async #play(file, name) {
    await this.#client.stop();
    const recording = await Recording.open(file);
    if (!recording) return this.#notice.showProblem(words().unreadable, words().unreadableAdvice);
    this.#recording = recording;
    this.#showSource(name);
    await this.#begin(recording.track);
    if (this.#recording === recording) await recording.play();
    if (this.#recording === recording) await this.#client.stop();
  }

  /** @param {import('voxgender').StateChange} change */
  #changeState(change) {
    const { state, error, transport } = change;
    this.#showState();
    if (transport) write(byId('transport'), TRANSPORTS[transport]);
    this.#notice.showState(change);
    this.#tokenForm.show(state === 'failed' && error?.code === 'unauthorized');
    if (state === 'live') {
      this.#clock.start();
      this.#latency.start();
      this.#picker.refresh();
    } else {
      this.#latency.stop();
      this.#announcer.stop();
    }
    if (isRunning(state)) return;
    this.#timeline.freeze();
    this.#runs.freeze();
    this.#recording?.close();
    this.#recording = null;
    this.#showSource(null);
  }

  #showState() {
    const { state, total } = this.#client;
    const running = isRunning(state);
    document.body.dataset['state'] = state;
    document.body.classList.toggle('running', running);
    write(byId('action'), running ? words().stop : words().start);
    write(byId('status'), words()[STATUS[state]]);
    this.#voice.showState(state, total);
    this.#shares.show(total);
  }

  /** @param {string | null} name of the recording that is played; null for the microphone */
  #showSource(name) {
    byId('picker').hidden = name !== null;
    byId('playing').hidden = name === null;
    write(byId('playing'), name === null ? '' : words().playing(name));
  }

  #showRuns() {
    this.#stream.show(this.#runs);
    this.#wholeCall.show();
    this.#transcript.show();
  }

  /** Say in the headline, before Start is pressed, why the microphone cannot be used. */
  async #showObstacle() {
    const obstacle = await findObstacle();
    if (this.#client.state !== 'idle') return;
    if (obstacle) this.#voice.showReason(explainError(obstacle));
    else this.#voice.showState('idle', this.#client.total);
  }
}

await speakLanguage(preferredLanguage());
new Page(new URLSearchParams(location.hash.slice(1)));
enablePage();
