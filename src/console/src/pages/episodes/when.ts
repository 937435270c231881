// Times in forms: a `datetime-local` field in the clock that was chosen, and the instant that the server is asked for.

import { prefs } from '../../lib/prefs.svelte';

/** What the field shows for an instant of the address. */
export function toField(instant: string): string {
  const at = new Date(instant);
  if (!instant || Number.isNaN(at.getTime())) return '';
  const shifted = prefs.clock === 'utc' ? at : new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 16);
}

/** The instant that a field means; an empty text where it means none. */
export function fromField(field: string): string {
  const at = new Date(prefs.clock === 'utc' ? `${field}Z` : field);
  return Number.isNaN(at.getTime()) ? '' : at.toISOString().replace('.000Z', 'Z');
}
