// Keys that work on every page. Rows of a table are `<tr data-row tabindex="-1">`; what a row opens is its first link or button.

export function writing(target: EventTarget | null): boolean {
  if (target instanceof HTMLInputElement) return !['checkbox', 'radio', 'button', 'range'].includes(target.type);
  return target instanceof HTMLElement && (target.isContentEditable || ['TEXTAREA', 'SELECT'].includes(target.tagName));
}

function rows(): HTMLElement[] {
  return [...document.querySelectorAll<HTMLElement>('main [data-row]')];
}

function step(by: number): void {
  const all = rows();
  if (all.length === 0) return;
  const at = all.indexOf(document.activeElement as HTMLElement);
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: 'nearest' });
}

export interface Keys {
  search: () => void;
  help: () => void;
  page: (index: number) => void;
}

export function pressed(event: KeyboardEvent, keys: Keys): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || writing(event.target)) return;
  if (document.querySelector('dialog[open]')) return;
  if (event.key === '/') keys.search();
  else if (event.key === '?') keys.help();
  else if (event.key === 'j') step(1);
  else if (event.key === 'k') step(-1);
  else if (event.key === 'Enter' && event.target instanceof HTMLElement && event.target.matches('[data-row]')) {
    event.target.querySelector<HTMLElement>('a, button')?.click();
  } else if (/^[1-9]$/.test(event.key)) keys.page(Number(event.key) - 1);
  else return;
  event.preventDefault();
}
