// Streams of the server (docs/streams.md), followed without a gap: a cut one goes on behind the last id that was seen.

import { createParser, type EventSourceMessage } from 'eventsource-parser';

import { asked } from './api';
import { refusalOf, type Refusal } from './refusal';
import { session } from './session.svelte';

export type LinkState = 'connecting' | 'live' | 'waiting';

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
/** The server says something every 15 seconds; three silences are a cut. */
const SILENCE_MS = 45_000;

export class Follower {
  state = $state<LinkState>('connecting');
  /** What the server said against it; not that it is away. */
  refusal = $state.raw<Refusal | undefined>(undefined);

  #path: string;
  #tell: (message: EventSourceMessage) => void;
  #last = '';
  #closed = false;
  #abort = new AbortController();
  #wake: (() => void) | undefined;

  /** `path` is below `api/v1/`, with its query. */
  constructor(path: string, tell: (message: EventSourceMessage) => void) {
    this.#path = path;
    this.#tell = tell;
    addEventListener('online', this.#online);
    addEventListener('offline', this.#offline);
    void this.#follow();
  }

  close(): void {
    this.#closed = true;
    removeEventListener('online', this.#online);
    removeEventListener('offline', this.#offline);
    this.#abort.abort();
    this.#wake?.();
  }

  #online = (): void => this.#wake?.();
  /** A connection over a network that is gone would only be noticed by its silence. */
  #offline = (): void => this.#abort.abort();

  async #follow(): Promise<void> {
    let wait = FIRST_WAIT_MS;
    while (!this.#closed) {
      try {
        await this.#read(() => {
          wait = FIRST_WAIT_MS;
        });
      } catch (thrown) {
        const refusal = refusalOf(thrown);
        this.refusal = refusal.status === 0 ? undefined : refusal;
        if (refusal.status >= 400 && refusal.status < 500 && refusal.status !== 429) {
          this.state = 'waiting';
          return;
        }
        wait = Math.max(wait, refusal.retryAfter * 1000);
      }
      if (this.#closed) return;
      this.state = 'waiting';
      await new Promise<void>((wake) => {
        this.#wake = wake;
        setTimeout(wake, wait);
      });
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    }
  }

  async #read(opened: () => void): Promise<void> {
    this.#abort = new AbortController();
    const headers: Record<string, string> = { accept: 'text/event-stream' };
    if (this.#last) headers['last-event-id'] = this.#last;
    const response = await asked(this.#path, { headers, signal: this.#abort.signal });
    if (response.body === null) return;
    opened();
    this.state = 'live';
    this.refusal = undefined;
    const parser = createParser({
      onEvent: (message) => {
        if (message.id) this.#last = message.id;
        this.#tell(message);
      },
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const silence = setTimeout(() => this.#abort.abort(), SILENCE_MS);
      const { value, done } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      parser.feed(value);
    }
  }
}

/** What one event of the log looks like, in lists and in streams. */
export interface LogEvent {
  position: number;
  event_id: string;
  category: string;
  stream_id: string;
  sequence: number;
  type: string;
  version: string;
  recorded_at: string;
  occurred_at: string;
  actor: string;
  role: string;
  correlation_id: string;
  causation_id: string | null;
  causation_depth: number;
  data: Record<string, unknown>;
}

type Listener = (event: LogEvent) => void;

/** One tail of the log for the whole tab: pages are told what happened, and ask again for what they show. */
class Tail {
  #follower: Follower | undefined = $state.raw(undefined);
  #listeners = new Set<Listener>();

  get link(): LinkState {
    return this.#follower?.state ?? 'waiting';
  }

  start(): void {
    if (this.#follower !== undefined || !session.may('GET', 'events/stream')) return;
    this.#follower = new Follower('events/stream', (message) => {
      const event = JSON.parse(message.data) as LogEvent;
      if (typeof event.position !== 'number') return;
      for (const listener of this.#listeners) listener(event);
    });
  }

  stop(): void {
    this.#follower?.close();
    this.#follower = undefined;
  }

  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

export const tail = new Tail();

/**
 * Calls `then` when something happened to one of the categories, at most once in `pause` milliseconds, while the component
 * is there. Who may not read the log gets there by the page's own questions.
 */
export function onChange(categories: string[], then: () => void, pause = 1000): void {
  $effect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = tail.listen((event) => {
      if (timer !== undefined || !categories.includes(event.category)) return;
      timer = setTimeout(() => {
        timer = undefined;
        if (!document.hidden) then();
      }, pause);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  });
}
