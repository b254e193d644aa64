// Bundles the page into ../dist, or a folder that is named; the same bytes every time.

import { build } from 'esbuild';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = new URL('./', import.meta.url);
const out = process.argv[2] ? pathToFileURL(process.argv[2] + '/') : new URL('../dist/', here);
await rm(out, { recursive: true, force: true });
await mkdir(out);
await build({
  absWorkingDir: fileURLToPath(here), entryPoints: ['phone.js'], outfile: fileURLToPath(new URL('phone.js', out)), bundle: true, format: 'esm', minify: true, target: 'es2022', legalComments: 'none',
  banner: { js: '// Tandem phone, with JsSIP and others: see licenses.txt' },
  logLevel: 'warning',
});
const parts = ['jssip', 'debug', 'events', 'ms', 'sdp-transform']; // what is in the bundle besides our own files
let licenses = '';
for (const name of parts) {
  const folder = new URL(`node_modules/${name}/`, here);
  const { version } = JSON.parse(await readFile(new URL('package.json', folder), 'utf8'));
  for (const file of ['LICENSE', 'LICENSE.md', 'license.md', 'LICENSE.txt', 'COPYING']) {
    const text = await readFile(new URL(file, folder), 'utf8').catch(() => '');
    if (text) {
      licenses += `${name} ${version}\n\n${text.trim()}\n\n\n`;
      break;
    }
  }
}
await writeFile(new URL('licenses.txt', out), licenses);
for (const file of ['index.html', 'phone.css', 'icon.svg']) await copyFile(new URL(file, here), new URL(file, out));
