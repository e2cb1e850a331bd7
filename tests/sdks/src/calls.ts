// Calls of the SDKs that run without their servers, each with a change of microphone and a mute of its own.

import AgoraRTC from 'agora-rtc-sdk-ng';
import { createLocalAudioTrack, LocalAudioTrack, Track } from 'livekit-client';
import SimplePeer from 'simple-peer';
import { createLocalAudioTrack as createTwilioTrack } from 'twilio-video';
import { VoxgenderClient, type VoiceTap } from 'voxgender';

import * as taps from './taps';

interface Call {
  voice: VoiceTap;
  /** Another microphone, the way that stops the old one first. */
  restart: () => Promise<unknown>;
  mute: () => Promise<unknown>;
  unmute: () => Promise<unknown>;
}

const calls: Record<string, () => Promise<Call>> = {
  async liveKit() {
    const track = await createLocalAudioTrack();
    // The room is its own server's; its participant holds the SDK's own track.
    const publication = {
      track,
      get isMuted() {
        return track.isMuted;
      },
    };
    const room = {
      localParticipant: {
        getTrackPublication: (source: Track.Source) => source === Track.Source.Microphone && publication,
      },
    };
    return {
      voice: taps.liveKit(room as never),
      restart: () => track.restartTrack(),
      mute: async () => {
        (track as LocalAudioTrack & { stopOnMute: boolean }).stopOnMute = true;
        await track.mute();
      },
      unmute: () => track.unmute(),
    };
  },
  async twilio() {
    const track = await createTwilioTrack();
    return {
      voice: taps.twilio(track),
      restart: () => track.restart(),
      mute: async () => track.disable(),
      unmute: async () => track.enable(),
    };
  },
  async agora() {
    AgoraRTC.setLogLevel(4);
    const track = await AgoraRTC.createMicrophoneAudioTrack();
    return {
      voice: taps.agora(track),
      restart: async () => {
        await track.setEnabled(false);
        await track.setEnabled(true);
      },
      mute: () => track.setMuted(true),
      unmute: () => track.setMuted(false),
    };
  },
  async simplePeer() {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const [peer, other] = [new SimplePeer({ initiator: true, stream }), new SimplePeer()];
    peer.on('signal', (data) => other.signal(data));
    other.on('signal', (data) => peer.signal(data));
    await new Promise((resolve) => peer.on('connect', resolve));
    const own = () => stream.getAudioTracks()[0]!;
    return {
      voice: taps.simplePeer(stream),
      restart: async () => {
        const before = own();
        before.stop();
        const [after] = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks();
        peer.replaceTrack(before, after!, stream);
        stream.removeTrack(before);
        stream.addTrack(after!);
      },
      mute: async () => void (own().enabled = false),
      unmute: async () => void (own().enabled = true),
    };
  },
};

const heard = (client: VoxgenderClient, voice: boolean) =>
  new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(voice ? 'nothing is heard' : 'a muted voice is heard')), 12_000);
    client.addEventListener('result', ({ detail }) => {
      if ((detail.label !== 'no_speech') !== voice) return;
      clearTimeout(timer);
      resolve();
    });
  });

/** Follow one SDK's call through a change of microphone, a mute and its end; what the client went through. */
async function follow(name: string) {
  const { voice, restart, mute, unmute } = await calls[name]!();
  const client = new VoxgenderClient('/whip');
  const states: string[] = [];
  client.addEventListener('state', ({ detail }) => states.push(detail.state));
  await client.start(voice);
  await heard(client, true);
  const before = voice.track;
  await restart();
  voice.sync();
  const isOther = voice.track !== before && voice.track?.readyState === 'live';
  await heard(client, true);
  await mute();
  voice.sync();
  const isSilent = !voice.track?.enabled;
  await heard(client, false);
  await unmute();
  await heard(client, true);
  const stopped = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not told of the stop: ${states}`)), 12_000);
    client.addEventListener('state', ({ detail }) => {
      if (detail.state !== 'stopped') return;
      clearTimeout(timer);
      resolve();
    });
  });
  voice.stop();
  await stopped;
  return { states, isOther, isSilent };
}

Object.assign(window, { follow });
