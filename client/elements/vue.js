// `voxgender/elements/vue.js`: <voxgender-voice>, with types for Vue’s templates and JSX.

export * from '../src/voxgender-voice.js';
