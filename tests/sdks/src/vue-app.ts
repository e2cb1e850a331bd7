import { createApp, defineComponent, h, shallowRef } from 'vue';
import { useVoxgender } from 'voxgender/vue';

const track = shallowRef<MediaStreamTrack | null>(null);
const shown = shallowRef(true);

const Voice = defineComponent({
  setup() {
    const { state, label, transport } = useVoxgender('/whip', { source: track });
    return () => h('p', { id: 'voice' }, `${state.value} ${transport.value} ${label.value}`);
  },
});

const listen = async () => {
  track.value = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0]!;
};

createApp({
  setup: () => () => [
    h('button', { id: 'listen', onClick: listen }, 'listen'),
    h('button', { id: 'leave', onClick: () => (shown.value = false) }, 'leave'),
    shown.value ? h(Voice) : null,
  ],
}).mount('#app');
