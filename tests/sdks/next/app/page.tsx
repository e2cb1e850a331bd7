import { VoxgenderClient, explain, labelWord, tap } from 'voxgender';
import { VoxgenderVoice } from 'voxgender/elements/react.js';

import { Voice } from './voice';

/** Rendered on the server: whatever the library has is imported there, and nothing is started. */
export default function Page() {
  const client = new VoxgenderClient('/whip');
  const error = explain(new Error('nothing'));
  return (
    <main>
      <p id="server">
        {client.state} {labelWord('female')} {typeof tap} {typeof VoxgenderVoice} {error.advice}
      </p>
      <Voice />
      <voxgender-voice endpoint="/whip" />
    </main>
  );
}
