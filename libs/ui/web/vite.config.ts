import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { lezer } from "@lezer/generator/rollup";
import { defineConfig, type Plugin } from "vite";

/** Bytes that all files may have, compressed: pages that come over a slow line. */
const MOST_BROTLI = 320 * 1024;
const MOST_GZIP = 380 * 1024;

// Embedded as they are: the server compresses nothing while it serves.
function compress(folder: string): Plugin {
  return {
    name: "compress",
    apply: "build",
    closeBundle() {
      let brotli = 0;
      let gzip = 0;
      for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
        const path = join(folder, name);
        if (!statSync(path).isFile() || !/\.(js|css|svg)$/.test(name)) continue;
        const plain = readFileSync(path);
        const quality = { [constants.BROTLI_PARAM_QUALITY]: 11 };
        const [small, older] = [
          brotliCompressSync(plain, { params: quality }),
          gzipSync(plain, { level: 9 }),
        ];
        writeFileSync(`${path}.br`, small);
        writeFileSync(`${path}.gz`, older);
        brotli += small.length;
        gzip += older.length;
      }
      if (brotli > MOST_BROTLI || gzip > MOST_GZIP)
        throw new Error(`the pages are too large: ${brotli} bytes as brotli, ${gzip} as gzip`);
    },
  };
}

export default defineConfig({
  // Everything is relative: to the base that the server puts into the page.
  base: "./",
  build: {
    outDir: "dist/site",
    emptyOutDir: true,
    target: "es2023",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Of what others wrote and is in the bundle.
    license: { fileName: "licenses.md" },
  },
  worker: { format: "es" },
  plugins: [lezer(), compress("dist/site")],
});
