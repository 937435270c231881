// What the server says of episodes on their way, and what follows from it.

export interface Leg {
  status: string;
  attempt_count?: number;
  next_retry_at?: string | null;
  told_at?: string | null;
  error_message?: string | null;
  object?: { bucket?: string; object_key?: string; proof?: string; size_bytes?: number } | null;
}

export interface Chain {
  id: number;
  episode_id: number;
  episode_public_id?: string | null;
  status: string;
  attempt_count: number;
  bytes_transferred?: number | null;
  duration_sec?: number | null;
  started_at?: string | null;
  completed_at?: string | null;
  next_retry_at?: string | null;
  reason?: string | null;
  given_up?: string | null;
  error_class?: string | null;
  error_message?: string | null;
  destinations?: Record<string, unknown> | null;
}

export interface Sent {
  percent: number;
  total_bytes: number;
  uploaded_bytes: number;
  updated_at: string;
}

export function legs(chain: { destinations?: Record<string, unknown> | null }): [string, Leg][] {
  return Object.entries(chain.destinations ?? {}) as [string, Leg][];
}

export interface Cause {
  name: string;
  count: number;
  givenUp: number;
  example: string;
  episode: number;
}

/** Failures by their cause, the most frequent one first; the newest of each tells what was said. */
export function causes(failed: Chain[]): Cause[] {
  const found = new Map<string, Cause>();
  for (const chain of failed) {
    const name = chain.error_class ?? chain.given_up ?? '';
    const cause = found.get(name) ?? { name, count: 0, givenUp: 0, example: chain.error_message ?? '', episode: chain.episode_id };
    cause.count += 1;
    if (chain.given_up) cause.givenUp += 1;
    found.set(name, cause);
  }
  return [...found.values()].sort((a, b) => b.count - a.count);
}

/** Seconds below which a share of the values lies. */
export function quantile(values: number[], share: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

const MINUTES = 10;

/** What arrived of late, by minute; over as long as the list reaches back, ten minutes at most. */
export function arrivals(completed: Chain[], now: number, whole: boolean): { minutes: number[]; rate: number; seconds: number } {
  const minutes = new Array<number>(MINUTES).fill(0);
  let oldest = now;
  let sum = 0;
  for (const chain of completed) {
    const at = Date.parse(chain.completed_at ?? '');
    const age = now - at;
    if (Number.isNaN(at) || age >= MINUTES * 60_000) continue;
    oldest = Math.min(oldest, at);
    const index = MINUTES - 1 - Math.max(0, Math.floor(age / 60_000));
    const bytes = chain.bytes_transferred ?? 0;
    minutes[index] = (minutes[index] ?? 0) + bytes;
    sum += bytes;
  }
  // A list that was cut says nothing of the time before its last row.
  const seconds = whole || completed.some((chain) => now - Date.parse(chain.completed_at ?? '') >= MINUTES * 60_000) ? MINUTES * 60 : Math.max(1, (now - oldest) / 1000);
  return { minutes, rate: sum / seconds, seconds };
}
