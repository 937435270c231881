// Who is signed in. The token is sent as a header and kept for this tab only: there is no cookie that another site could use.

import { Refusal } from './refusal';

const KEPT = 'keystone.token';

export interface Me {
  name: string;
  role: string;
  operator_id: string | null;
}

export interface AllowedRoute {
  method: string;
  path: string;
}

/** The root of the interface, wherever a proxy has put us. */
export const API = new URL('api/v1/', document.baseURI).href;

class Session {
  token = $state(sessionStorage.getItem(KEPT) ?? '');
  me = $state.raw<Me | null>(null);
  /** What the access table gives this login; empty until it was asked. */
  #allowed = $state.raw<Set<string>>(new Set());
  ended = $state(false);

  /** Whether the access table has this route for this login, for instance `GET /api/v1/events`. */
  may(method: string, path: string): boolean {
    return this.#allowed.has(`${method} /api/v1/${path}`);
  }

  async signIn(username: string, password: string): Promise<void> {
    const response = await reached('auth/login', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username, password }),
    });
    const { access_token: token } = (await response.json()) as { access_token: string };
    await this.open(token);
  }

  /** Takes a token, if it opens anything. */
  async open(token: string): Promise<void> {
    const headers = { authorization: `Bearer ${token}` };
    const [me, access] = await Promise.all([reached('auth/me', { headers }), reached('auth/me/access', { headers })]);
    this.me = (await me.json()) as Me;
    const { routes } = (await access.json()) as { routes: AllowedRoute[] };
    this.#allowed = new Set(routes.map((route) => `${route.method} ${route.path}`));
    this.token = token;
    this.ended = false;
    sessionStorage.setItem(KEPT, token);
  }

  async signOut(): Promise<void> {
    const headers = { authorization: `Bearer ${this.token}` };
    this.forget(false);
    // Whatever is answered: in this tab the token is gone.
    await fetch(`${API}auth/logout`, { method: 'POST', headers }).catch(() => undefined);
  }

  /** The server does not take the token any more; the view stays, so that signing in again leads back to it. */
  forget(ended: boolean): void {
    this.token = '';
    this.me = null;
    this.#allowed = new Set();
    this.ended = ended;
    sessionStorage.removeItem(KEPT);
  }
}

async function reached(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(API + path, { ...init, cache: 'no-store', credentials: 'omit' });
  } catch (cause) {
    throw Refusal.unreachable(cause);
  }
  if (!response.ok) throw await Refusal.of(response);
  return response;
}

export const session = new Session();
