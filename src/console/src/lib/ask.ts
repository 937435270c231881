// Asking below `api/v1/` without types: what is no JSON, and what is asked before one is signed in.

import { clock } from './clock.svelte';
import { Refusal } from './refusal';

/** The root of the interface, wherever a proxy has put us. */
export const API = new URL('api/v1/', document.baseURI).href;

/** An answer that is none of refusal; no cookie goes with the question, and nothing is kept. */
export async function ask(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(API + path, { ...init, cache: 'no-store', credentials: 'omit' });
  } catch (cause) {
    throw Refusal.unreachable(cause);
  }
  clock.heard(response.headers.get('date'));
  if (!response.ok) throw await Refusal.of(response);
  return response;
}
