import { type Input, times } from "./analysis";

addEventListener("message", ({ data }: MessageEvent<Input>) => {
  const found = times(data);
  postMessage(found, { transfer: [found.self.buffer, found.critical.buffer, found.retry.buffer] });
});
