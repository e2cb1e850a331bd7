import { CAPTURE_RATE_HZ, FRAME_MS } from './capture.js';

/** @typedef {Float32Array<ArrayBuffer>} Frame samples from -1 to 1 */

/**
 * @typedef {object} VoiceEncoder
 * @property {'opus' | 's16le'} encoding as `/listen` names it
 * @property {number} bytesPerS about so many
 * @property {(frame: Frame) => void} encode
 * @property {() => Promise<void>} finish resolves when all that was given has been handed on
 * @property {() => void} close
 */
/**
 * @typedef {object} EncoderListener
 * @property {(packet: ArrayBuffer) => void} onpacket
 * @property {(error: unknown) => void} onerror it encodes no more
 */

const BITRATE = 24_000;

/** The parameters that the server's answers ask of WebRTC's encoders. */
const OPUS = {
  codec: 'opus',
  sampleRate: CAPTURE_RATE_HZ,
  numberOfChannels: 1,
  bitrate: BITRATE,
  opus: { frameDuration: FRAME_MS * 1_000, format: /** @type {const} */ ('opus'), application: 'voip' },
};

/**
 * @param {EncoderListener} listener
 * @param {{opus: boolean}} options whether Opus is wished for
 * @returns {Promise<VoiceEncoder>} Opus where the browser has it (WebCodecs), else 16-bit samples as they are
 */
export async function openEncoder(listener, { opus }) {
  return opus && (await hasOpus()) ? new OpusEncoder(listener) : new SampleEncoder(listener);
}

async function hasOpus() {
  if (!('AudioEncoder' in globalThis)) return false;
  const answer = await AudioEncoder.isConfigSupported(OPUS).catch(() => null);
  return answer?.supported ?? false;
}

/** @implements {VoiceEncoder} */
class OpusEncoder {
  /** @type {'opus'} */
  encoding = 'opus';
  bytesPerS = BITRATE / 8;
  #encoder;
  #timeUs = 0;

  /** @param {EncoderListener} listener */
  constructor({ onpacket, onerror }) {
    this.#encoder = new AudioEncoder({
      output: (chunk) => {
        const packet = new ArrayBuffer(chunk.byteLength);
        chunk.copyTo(packet);
        onpacket(packet);
      },
      error: onerror,
    });
    this.#encoder.configure(OPUS);
  }

  /** @param {Frame} frame */
  encode(frame) {
    if (this.#encoder.state !== 'configured') return;
    const sound = new AudioData({
      format: 'f32',
      sampleRate: CAPTURE_RATE_HZ,
      numberOfFrames: frame.length,
      numberOfChannels: 1,
      timestamp: this.#timeUs,
      data: frame,
    });
    this.#timeUs += FRAME_MS * 1_000;
    this.#encoder.encode(sound);
    sound.close();
  }

  async finish() {
    if (this.#encoder.state === 'configured') await this.#encoder.flush().catch(() => {});
  }

  close() {
    if (this.#encoder.state !== 'closed') this.#encoder.close();
  }
}

/** @implements {VoiceEncoder} */
class SampleEncoder {
  /** @type {'s16le'} */
  encoding = 's16le';
  bytesPerS = 2 * CAPTURE_RATE_HZ;
  #onpacket;

  /** @param {EncoderListener} listener */
  constructor({ onpacket }) {
    this.#onpacket = onpacket;
  }

  /** @param {Frame} frame */
  encode(frame) {
    const bytes = new DataView(new ArrayBuffer(2 * frame.length));
    frame.forEach((sample, index) => {
      const value = Math.round(Math.max(-1, Math.min(1, sample)) * 0x7fff);
      bytes.setInt16(2 * index, value, true);
    });
    this.#onpacket(bytes.buffer);
  }

  async finish() {}

  close() {}
}
