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
];

/** Addresses that are no page of the menu. */
export const FURTHER: Record<string, { page: Page['name']; load: Page['load'] }> = {};
