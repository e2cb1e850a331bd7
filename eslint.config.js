import js from '@eslint/js';
import globals from 'globals';

/** Names of the protocol are as they stand on the wire; all others are as JavaScript has them. */
const MESSAGE_FIELDS = ['no_speech', 'latency_ms', 'hop_ms', 'window_ms', 'stages_ms'];

export default [
  { ignores: ['.cache/', '.venv/', 'artifacts/', 'build/', 'node_modules/', 'client/types/', 'docs/', 'tests/sdks/'] },
  js.configs.recommended,
  {
    files: ['**/*.js'],
    languageOptions: { ecmaVersion: 2022, sourceType: 'module' },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      camelcase: ['error', { allow: MESSAGE_FIELDS, properties: 'never' }],
      eqeqeq: 'error',
      'no-restricted-syntax': [
        'error',
        {
          selector: 'Program > VariableDeclaration[kind="let"]',
          message: 'A module keeps no state: put it into an object.',
        },
      ],
      'no-shadow': 'error',
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['client/src/**', 'client/site/**'],
    languageOptions: { globals: globals.browser },
    rules: { 'no-console': ['error', { allow: ['warn'] }] },
  },
  {
    files: ['client/site/**'],
    rules: {
      'no-restricted-imports': ['error', { patterns: [{ group: ['../*'], message: 'Use the library by its name.' }] }],
    },
  },
  {
    files: ['client/test/**', 'client/tools/**'],
    languageOptions: { globals: { ...globals.node, ...globals.browser } },
    rules: { 'no-restricted-syntax': 'off' },
  },
];
