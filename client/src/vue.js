// `voxgender/vue`: the client as a composable. Vue is the page's own.

import { computed, getCurrentScope, onScopeDispose, shallowRef, toValue, watch } from 'vue';

import { LiveVoice } from './live-voice.js';

/**
 * Label a voice for as long as a component is there.
 *
 *     const { state, label, result, start, stop } = useVoxgender('/whip');
 *
 * With a `source`, which may be a ref or a getter, it listens to that by itself, while there is one; without, `start` asks
 * for the microphone. Nothing happens where pages are rendered on a server.
 * @param {string | URL} endpoint the server's WHIP endpoint
 * @param {{source?: import('vue').MaybeRefOrGetter<import('./live-voice.js').Source | null>}
 *   & import('./live-voice.js').ClientOptions} [options]
 */
export function useVoxgender(endpoint, { source, ...options } = {}) {
  const voice = new LiveVoice(endpoint, options);
  const snapshot = shallowRef(voice.snapshot());
  voice.subscribe(() => (snapshot.value = voice.snapshot()));
  if (source !== undefined && 'document' in globalThis) {
    watch(
      () => toValue(source),
      (value) => voice.follow(value),
      { immediate: true },
    );
  }
  if (getCurrentScope()) onScopeDispose(() => void voice.stop());
  return {
    state: computed(() => snapshot.value.state),
    transport: computed(() => snapshot.value.transport),
    error: computed(() => snapshot.value.error),
    label: computed(() => snapshot.value.label),
    result: computed(() => snapshot.value.result),
    client: voice.client,
    start: voice.start,
    stop: voice.stop,
  };
}
