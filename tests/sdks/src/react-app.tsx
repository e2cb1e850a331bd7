import { StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { useVoxgender } from 'voxgender/react';

function Voice({ source }: { source: MediaStreamTrack | null }) {
  const { state, label, transport } = useVoxgender('/whip', { source });
  return <p id="voice">{`${state} ${transport} ${label}`}</p>;
}

function App() {
  const [track, setTrack] = useState<MediaStreamTrack | null>(null);
  const [shown, setShown] = useState(true);
  const listen = async () =>
    setTrack((await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0]!);
  return (
    <>
      <button id="listen" onClick={listen}>
        listen
      </button>
      <button id="leave" onClick={() => setShown(false)}>
        leave
      </button>
      {shown && <Voice source={track} />}
    </>
  );
}

createRoot(document.getElementById('app')!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
