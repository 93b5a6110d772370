import { lezer } from "@lezer/generator/rollup";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [lezer()],
  test: { include: ["tests/*.test.ts"], setupFiles: ["tests/setup.ts"] },
});
