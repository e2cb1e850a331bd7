/** @jsxImportSource preact */
import { createRef } from 'preact';
import { type VoxgenderVoice } from 'voxgender/elements/preact.js';

declare const track: MediaStreamTrack;

/** The element in Preact's JSX: properties, events, a reference; and what it refuses. */
export function Voice() {
  const element = createRef<VoxgenderVoice>();
  return (
    <>
      <voxgender-voice
        ref={element}
        className="mine"
        endpoint="/whip"
        token={async () => 'of my server'}
        transport="websocket"
        ice-transport-policy="relay"
        source={track}
        onresult={({ detail }) => console.log(detail.label, detail.confidence)}
        onstate={({ detail }) => console.log(detail.state, detail.error?.code)}
      />
      {/* @ts-expect-error: no such way */}
      <voxgender-voice transport="pigeon" />
      {/* @ts-expect-error: a track, and not its name */}
      <voxgender-voice source="microphone" />
    </>
  );
}
