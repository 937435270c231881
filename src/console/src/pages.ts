// The pages, in their order, and the question with which the access table opens each of them.

import type { Component } from 'svelte';

import type { Texts } from './texts';

export interface Page {
  /** The first part of the address. */
  name: keyof Texts['shell']['pages'];
  /** The route that has to be ours for the page to be shown. */
  needs: [method: string, path: string];
  /** Loaded when one goes there; it gets what stands behind its name in the address. */
  load: () => Promise<{ default: Component<{ rest: string[] }> }>;
}

export const PAGES: Page[] = [
  { name: 'floor', needs: ['GET', 'production/dashboard/snapshot'], load: () => import('./pages/floor/Floor.svelte') },
  { name: 'orders', needs: ['GET', 'orders'], load: () => import('./pages/units/Orders.svelte') },
  { name: 'episodes', needs: ['GET', 'episodes'], load: () => import('./pages/episodes/Episodes.svelte') },
  { name: 'quality', needs: ['GET', 'dashboard/quality/summary'], load: () => import('./pages/quality/Quality.svelte') },
  { name: 'deliveries', needs: ['GET', 'subscriptions'], load: () => import('./pages/deliveries/Deliveries.svelte') },
  { name: 'sync', needs: ['GET', 'sync/config'], load: () => import('./pages/sync/Sync.svelte') },
  { name: 'log', needs: ['GET', 'events'], load: () => import('./pages/log/Log.svelte') },
  { name: 'people', needs: ['GET', 'sessions'], load: () => import('./pages/people/People.svelte') },
  { name: 'registry', needs: ['GET', 'stations'], load: () => import('./pages/registry/Registry.svelte') },
];

/** Addresses that are no page of the menu; the page that is marked in it while one is there. They get all of their address. */
export const FURTHER: Record<string, { page: Page['name']; load: Page['load'] }> = {
  batches: { page: 'orders', load: () => import('./pages/units/Batch.svelte') },
  tasks: { page: 'orders', load: () => import('./pages/units/Task.svelte') },
  story: { page: 'orders', load: () => import('./pages/units/Story.svelte') },
  inspection: { page: 'episodes', load: () => import('./pages/episodes/Inspection.svelte') },
};
