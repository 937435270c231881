// Where the keyboard is when what had it has gone.

/** A lever is gone when the answer to what it did has been drawn: at once, or a moment later. */
const LOOKS_MS = [0, 100, 400, 1000];

/** The next keys go to the page, where what had them is not there any more: never to nothing. */
export function keepFocus(): void {
  for (const wait of LOOKS_MS) {
    setTimeout(() => {
      if (document.activeElement === document.body) document.getElementById('content')?.focus({ preventScroll: true });
    }, wait);
  }
}
