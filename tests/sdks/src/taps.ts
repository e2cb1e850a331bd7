// One line for each SDK, as docs/embedding.md has them: a test compares the two.

import type { DailyCall } from '@daily-co/daily-js';
import type { IMicrophoneAudioTrack } from 'agora-rtc-sdk-ng';
import { Track, type Room } from 'livekit-client';
import type { types } from 'mediasoup-client';
import type { MediaConnection } from 'peerjs';
import type { LocalAudioTrack } from 'twilio-video';
import { tap } from 'voxgender';

/** As much of lib-jitsi-meet as the line uses: its package on npm has no types. */
interface JitsiConference {
  getLocalAudioTrack(): { getTrack(): MediaStreamTrack; isMuted(): boolean } | null;
}

export const liveKit = (room: Room) => {
  const microphone = () => room.localParticipant.getTrackPublication(Track.Source.Microphone);
  return tap(() => microphone()?.track?.mediaStreamTrack, { muted: () => microphone()?.isMuted ?? true });
};
export const daily = (call: DailyCall) =>
  tap(() => call.participants().local.tracks.audio.persistentTrack, { muted: () => !call.localAudio() });
export const jitsi = (conference: JitsiConference) => {
  const microphone = () => conference.getLocalAudioTrack();
  return tap(() => microphone()?.getTrack(), { muted: () => microphone()?.isMuted() ?? true });
};
export const twilio = (track: LocalAudioTrack) => tap(() => track.mediaStreamTrack, { muted: () => !track.isEnabled });
export const agora = (track: IMicrophoneAudioTrack) =>
  tap(() => track.getMediaStreamTrack(), { muted: () => track.muted || !track.enabled });
export const mediasoup = (producer: types.Producer) => tap(() => producer.track, { muted: () => producer.paused });
export const simplePeer = (stream: MediaStream) => tap(() => stream.getAudioTracks()[0]);
export const peerJs = (call: MediaConnection) =>
  tap(() => call.peerConnection.getSenders().find(({ track }) => track?.kind === 'audio')?.track);
