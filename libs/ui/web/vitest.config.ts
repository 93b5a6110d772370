import { lezer } from "@lezer/generator/rollup";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [lezer()],
  // Property tests look at as many cases on a busy machine.
  test: { include: ["tests/*.test.ts"], setupFiles: ["tests/setup.ts"], testTimeout: 120_000 },
});
