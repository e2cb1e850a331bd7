'use client';

import { useState } from 'react';
import 'voxgender/elements/react.js';
import { useVoxgender } from 'voxgender/react';

export function Voice() {
  const [source, setSource] = useState<MediaStreamTrack | null>(null);
  const { state, label, transport } = useVoxgender('/whip', { source });
  const listen = async () =>
    setSource((await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0]!);
  return (
    <>
      <button id="listen" onClick={listen}>
        listen
      </button>
      <p id="voice">{`${state} ${transport} ${label}`}</p>
      <voxgender-voice id="element" endpoint="/whip" source={source} />
    </>
  );
}
