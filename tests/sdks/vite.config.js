export default {
  base: './',
  build: { rollupOptions: { input: ['calls.html', 'react.html', 'vue.html'] } },
};
