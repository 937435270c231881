// What the frame watches for every page: asked once, whoever shows it.

import { getContext, setContext } from 'svelte';

import { api, body } from './api';
import { onChange } from './live.svelte';
import { load, type Loaded } from './loaded.svelte';
import type { components } from './schema';
import { session } from './session.svelte';

export type LetterCounts = components['schemas']['LetterCounts'];

export interface Watched {
  /** Nothing where the login may not see them. */
  letters: Loaded<LetterCounts | undefined>;
  alerts: Loaded<components['schemas']['StandingAlerts'] | undefined>;
}

const EVERY_MS = 10_000;
const KEY = Symbol('watched');

/** Called by the frame. */
export function watch(): Watched {
  const letters = load(async () => (session.may('GET', 'dead-letters/counts') ? body(api.GET('/api/v1/dead-letters/counts')) : undefined), EVERY_MS);
  const alerts = load(async () => (session.may('GET', 'alerts') ? body(api.GET('/api/v1/alerts')) : undefined), EVERY_MS);
  onChange(['dead_letter'], () => void letters.again());
  return setContext(KEY, { letters, alerts });
}

export function watched(): Watched {
  return getContext<Watched>(KEY);
}
