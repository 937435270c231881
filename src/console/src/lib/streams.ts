// Where the unit behind a stream of the log is shown.

import { href } from './router.svelte';

const PAGES: Record<string, string[]> = {
  order: ['orders'],
  batch: ['batches'],
  task: ['tasks'],
  episode: ['episodes'],
  dead_letter: ['deliveries', 'letters'],
  subscription: ['deliveries', 'webhooks'],
};

/** The page of a unit, as of `task` and `17`; nothing where it has none. */
export function unitHref(category: string, id: string | number): string | undefined {
  const page = Object.hasOwn(PAGES, category) ? PAGES[category] : undefined;
  return page && /^\d+$/.test(String(id)) ? href([...page, id]) : undefined;
}

/** Its page, or its story, which every stream has. */
export function streamHref(category: string, id: string | number): string {
  return unitHref(category, id) ?? href(['story', category, id]);
}

/** `task/17` and `device/AB/1`, taken apart: ids of devices may hold anything. */
export function streamOf(text: string): { category: string; id: string } | undefined {
  const slash = text.indexOf('/');
  return slash > 0 && slash < text.length - 1 ? { category: text.slice(0, slash), id: text.slice(slash + 1) } : undefined;
}
