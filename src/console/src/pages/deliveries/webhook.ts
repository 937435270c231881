// What a webhook is made of, as its form has it.

export interface Webhook {
  id: string;
  origin: string;
  description?: string | null;
  event_types: string[];
  delivery: Delivery;
}

export interface Delivery {
  attempts_max: number;
  backoff: 'exponential' | 'fixed';
  backoff_base_ms: number;
  backoff_cap_ms: number;
  jitter: 'full' | 'none';
  timeout_ms: number;
  concurrency: number;
  ordering: 'none' | 'per_stream';
}

/** What a subscription gets that says nothing (docs/webhooks.md). */
export const USUAL: Delivery = {
  attempts_max: 15, backoff: 'exponential', backoff_base_ms: 5000, backoff_cap_ms: 3_600_000, jitter: 'full', timeout_ms: 15_000, concurrency: 4, ordering: 'none',
};

/** Names in a text that people write: commas, blanks and lines stand between them. */
export function typesOf(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter(Boolean))];
}
