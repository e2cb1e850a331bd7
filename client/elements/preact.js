// `voxgender/elements/preact.js`: <voxgender-voice>, with types for Preact’s JSX.

export * from '../src/voxgender-voice.js';
