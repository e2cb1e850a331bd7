// Writes the JavaScript of docs/recipes.md to build/, as users would copy it, with the server's address left open.
import { mkdir, readFile, writeFile } from 'node:fs/promises';

const page = await readFile(new URL('../../docs/recipes.md', import.meta.url), 'utf8');
const folder = new URL('build/', import.meta.url);
await mkdir(folder, { recursive: true });
for (const [name, heading] of [
  ['eyevinn', "## Eyevinn's WHIP client"],
  ['node', '## Node'],
]) {
  const [, section] = page.split(`\n${heading}\n`);
  const [, code] = /```js\n(.*?)```/s.exec(section);
  const address = "new URL('/whip', globalThis.location?.origin ?? process.env.SERVER).href";
  const open = code.replace("'http://localhost:8080/whip'", address);
  if (open === code) throw new Error(`the recipe for ${name} names no server`);
  await writeFile(new URL(`${name}.mjs`, folder), open);
}
