// Files that signed links of the server lead to.

import { API } from '../../../lib/ask';

/** A signed path of the server, wherever a proxy has put it: as an address of its own. */
export function absolute(signed: string): string {
  return signed.startsWith('/api/v1/') ? API + signed.slice('/api/v1/'.length) : new URL(signed, API).href;
}

/** Follows a signed link, which needs no login; the server says that it is a file, and under which name. */
export function saveLink(signed: string): void {
  const link = document.createElement('a');
  link.href = absolute(signed);
  link.download = '';
  link.rel = 'noopener';
  link.click();
}
