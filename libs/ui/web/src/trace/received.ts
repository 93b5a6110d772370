/** What has come of an answer is put away whenever it has so many bytes: browsers keep blobs outside of the page, on a disk if need be. */
const PUT_AWAY = 8 << 20;

/** The body of an answer; `tell` is told how many bytes have come. */
export async function received(response: Response, tell: (bytes: number) => void): Promise<Blob> {
  const reader = response.body?.getReader();
  if (!reader) return response.blob();
  const kept: Blob[] = [];
  let pieces: Uint8Array<ArrayBuffer>[] = [];
  let held = 0;
  let all = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (value) {
      pieces.push(value);
      held += value.length;
      all += value.length;
    }
    if (done || held >= PUT_AWAY) {
      kept.push(new Blob(pieces));
      pieces = [];
      held = 0;
      tell(all);
    }
    if (done) return new Blob(kept, { type: response.headers.get("Content-Type") ?? "" });
  }
}
