export default {
  base: './',
  // simple-peer and twilio-video were written for bundlers that bring Node's names.
  define: { global: 'globalThis' },
  build: { rollupOptions: { input: ['calls.html', 'react.html', 'vue.html', 'eyevinn.html'] } },
};
