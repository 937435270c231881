// Pictures of a recording, fetched with the login. Each costs the server a chunk, so a few are asked for at a time.

import { file } from '../../../lib/api';

const AT_ONCE = 3;
let busy = 0;
const waiting: (() => void)[] = [];

async function turn<T>(work: () => Promise<T>): Promise<T> {
  if (busy >= AT_ONCE) await new Promise<void>((go) => waiting.push(go));
  busy += 1;
  try {
    return await work();
  } finally {
    busy -= 1;
    waiting.shift()?.();
  }
}

export function frame(id: number, topic: string, at: number, signal: AbortSignal): Promise<Blob> {
  return turn(() => {
    signal.throwIfAborted();
    return file(`episodes/${id}/frames?${new URLSearchParams({ topic, at: at.toFixed(3) }).toString()}`, signal);
  });
}

/** Whether a topic has single pictures; those of a video need the ones before them. */
export function isCamera(messageType: string): boolean {
  return /image/i.test(messageType);
}
