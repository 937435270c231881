// Who is signed in. The token is sent as a header and kept for this tab only: there is no cookie that another site could use.

import { ask } from './ask';

const KEPT = 'keystone.token';

export interface Me {
  name: string;
  role: string;
  operator_id: string | null;
}

/** A row of the access table, as `GET /api/v1/auth/me/access` has it. */
export interface RouteAccess {
  method: string;
  path: string;
  mine: boolean;
  open: boolean;
  roles: string[];
  reach: string;
}

class Session {
  token = $state(sessionStorage.getItem(KEPT) ?? '');
  me = $state.raw<Me | null>(null);
  /** The access table; empty until it was asked. */
  access = $state.raw<RouteAccess[]>([]);
  wholeSite = $state(true);
  #mine = $derived(new Set(this.access.filter((route) => route.mine).map((route) => `${route.method} ${route.path}`)));
  ended = $state(false);

  /** Whether the access table has a route for this login, as in `may('GET', 'orders/{id}')`. */
  may(method: string, path: string): boolean {
    return this.#mine.has(`${method} /api/v1/${path}`);
  }

  async signIn(username: string, password: string): Promise<void> {
    const response = await ask('auth/login', {
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
    const [me, access] = await Promise.all([ask('auth/me', { headers }), ask('auth/me/access', { headers })]);
    const [mine, table] = (await Promise.all([me.json(), access.json()])) as [Me, { whole_site: boolean; routes: RouteAccess[] }];
    // All at once: the page that is shown for a person asks at once what they may.
    this.me = mine;
    this.access = table.routes;
    this.wholeSite = table.whole_site;
    this.token = token;
    this.ended = false;
    sessionStorage.setItem(KEPT, token);
  }

  async signOut(): Promise<void> {
    const headers = { authorization: `Bearer ${this.token}` };
    this.forget(false);
    // Whatever is answered: in this tab the token is gone.
    await ask('auth/logout', { method: 'POST', headers }).catch(() => undefined);
  }

  /** The server does not take the token any more; the view stays, so that signing in again leads back to it. */
  forget(ended: boolean): void {
    this.token = '';
    this.me = null;
    this.access = [];
    this.ended = ended;
    sessionStorage.removeItem(KEPT);
  }
}

export const session = new Session();
