'use client';

// `voxgender/react`: the client as a hook. React is the page's own, and it runs in the browser, not on Next.js's server.

import { useEffect, useRef, useState, useSyncExternalStore } from 'react';

import { LiveVoice } from './live-voice.js';

/**
 * Label a voice for as long as a component is there.
 *
 *     const { state, label, result, start, stop } = useVoxgender('/whip');
 *
 * With a `source` it listens to that by itself, while there is one; without, `start` asks for the microphone. The
 * endpoint and the options are those of the first render. Nothing happens where pages are rendered on a server.
 * @param {string | URL} endpoint the server's WHIP endpoint
 * @param {{source?: import('./live-voice.js').Source | null} & import('./live-voice.js').ClientOptions} [options]
 * @returns {import('./live-voice.js').Snapshot & Pick<LiveVoice, 'client' | 'start' | 'stop'>}
 */
export function useVoxgender(endpoint, { source, ...options } = {}) {
  const [voice] = useState(() => new LiveVoice(endpoint, options));
  const snapshot = useSyncExternalStore(voice.subscribe, voice.snapshot, voice.snapshot);
  const latest = useRef(source);
  useEffect(() => {
    latest.current = source;
    if (source !== undefined) voice.follow(source);
  }, [voice, source]);
  useEffect(() => {
    // In strict mode a component comes, goes and comes again.
    if (latest.current) voice.follow(latest.current);
    return () => void voice.stop();
  }, [voice]);
  return { ...snapshot, client: voice.client, start: voice.start, stop: voice.stop };
}
