// `voxgender/elements/react.js`: <voxgender-voice>, with types for React’s JSX.

export * from '../src/voxgender-voice.js';
