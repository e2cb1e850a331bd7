// A page that Next.js renders when it is built: the library is imported where there is no browser.
export default {
  output: 'export',
  distDir: 'dist',
  basePath: '/built/next',
  // `npm run build` has checked the types.
  typescript: { ignoreBuildErrors: true },
  turbopack: { root: `${import.meta.dirname}/..` },
};
