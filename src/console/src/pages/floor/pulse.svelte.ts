// Episodes as they are made, by the half minute, over the last quarter of an hour: what the log has of it first, then what it
// tells. Logins that may not read the log have none of this, and see what was counted since they came.

import { api } from '../../lib/api';
import { clock } from '../../lib/clock.svelte';
import { tail } from '../../lib/live.svelte';
import { session } from '../../lib/session.svelte';

const TYPE = 'episode_created';
const BIN_MS = 30_000;
const BINS = 30;
/** The log gives so many at once; where more happened, the line begins later. */
const LIMIT = 200;

export class Pulse {
  bins = $state.raw<number[] | undefined>(undefined);
  total = $state(0);
  /** How far back it reaches, in seconds. */
  span = $state(0);

  #times: number[] = [];
  #since = clock.now() - BIN_MS * BINS;
  #stop: () => void;
  #timer: ReturnType<typeof setInterval>;

  constructor() {
    this.#stop = tail.listen((event) => {
      if (event.type === TYPE) this.#times.push(Date.parse(event.recorded_at));
    });
    this.#timer = setInterval(() => this.#draw(), 5000);
    if (session.may('GET', 'events')) void this.#begin();
  }

  close(): void {
    this.#stop();
    clearInterval(this.#timer);
  }

  async #begin(): Promise<void> {
    const query = { type: TYPE, since: new Date(this.#since).toISOString(), order: 'desc' as const, limit: LIMIT };
    const { data } = await api.GET('/api/v1/events', { params: { query } }).catch(() => ({ data: undefined }));
    if (data === undefined) return;
    const found = data.items.map((event) => Date.parse(event.recorded_at));
    if (data.next_after !== undefined) this.#since = Math.min(...found);
    // What was told while the question was under way is in the answer, too.
    const newest = Math.max(0, ...found);
    this.#times = [...found, ...this.#times.filter((at) => at > newest)];
    this.bins = [];
    this.#draw();
  }

  #draw(): void {
    if (this.bins === undefined || document.hidden) return;
    const now = clock.now();
    const first = Math.max(this.#since, now - BIN_MS * BINS);
    this.#times = this.#times.filter((at) => at >= first);
    const bins = Math.max(2, Math.ceil((now - first) / BIN_MS));
    const counts = new Array<number>(bins).fill(0);
    for (const at of this.#times) {
      const bin = bins - 1 - Math.min(bins - 1, Math.max(0, Math.floor((now - at) / BIN_MS)));
      counts[bin] = (counts[bin] ?? 0) + 1;
    }
    this.bins = counts;
    this.total = this.#times.length;
    this.span = Math.round((now - first) / 1000);
  }
}
