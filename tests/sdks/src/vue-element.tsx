/** @jsxImportSource vue */
import type { GlobalComponents } from 'vue';
import 'voxgender/elements/vue.js';

declare const track: MediaStreamTrack;

/** The element in Vue's JSX, and in its templates, whose checker looks at `GlobalComponents`. */
export const voice = () => [
  <voxgender-voice
    class="mine"
    endpoint="/whip"
    source={track}
    onResult={({ detail }) => console.log(detail.label)}
    onState={({ detail }) => console.log(detail.state)}
  />,
  // @ts-expect-error: no such way
  <voxgender-voice transport="pigeon" />,
];

type Properties = InstanceType<GlobalComponents['voxgender-voice']>['$props'];
export const properties: Properties = { endpoint: '/whip', 'ice-transport-policy': 'relay', source: track };
