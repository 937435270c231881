// Where one is, in the part of the address behind `#`: every view and every filter is a link that can be passed on,
// whatever path a proxy has put before ours, and the server is asked for one page only.

export interface Place {
  /** `#/orders/4` is `['orders', '4']`. */
  path: string[];
  query: URLSearchParams;
}

function read(): Place {
  const hash = location.hash.replace(/^#\/?/, '');
  const [path = '', query = ''] = hash.split('?', 2);
  return {
    path: path.split('/').filter(Boolean).map(decoded),
    query: new URLSearchParams(query),
  };
}

/** A broken escape stays as it stands. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

class Router {
  place = $state.raw<Place>(read());

  constructor() {
    addEventListener('hashchange', () => {
      this.place = read();
    });
  }

  get path(): string[] {
    return this.place.path;
  }

  /** A parameter of the view, or an empty text. */
  param(name: string): string {
    return this.place.query.get(name) ?? '';
  }

  /** Another view; what one was looking at stays in the history. */
  go(target: string): void {
    location.hash = target;
  }

  /** The same view with other parameters; an empty text removes one. A page number does not survive another filter. */
  set(changes: Record<string, string>, replace = true): void {
    const query = new URLSearchParams(this.place.query);
    if (!('offset' in changes)) query.delete('offset');
    for (const [name, value] of Object.entries(changes)) {
      if (value === '') query.delete(name);
      else query.set(name, value);
    }
    const target = href(this.place.path, query);
    if (replace) {
      history.replaceState(null, '', target);
      this.place = read();
    } else {
      location.hash = target;
    }
  }
}

/** The link to a view. */
export function href(path: (string | number)[], query?: URLSearchParams | Record<string, string>): string {
  const asked = query instanceof URLSearchParams ? query : new URLSearchParams(query ?? {});
  const said = asked.toString();
  return `#/${path.map((part) => encodeURIComponent(part)).join('/')}${said ? `?${said}` : ''}`;
}

export const router = new Router();
