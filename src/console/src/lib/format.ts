// Numbers and times as people read them.

import { prefs } from './prefs.svelte';

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** Bytes in powers of a thousand, three digits. */
export function bytes(n: number | null | undefined): string {
  if (n === null || n === undefined || !Number.isFinite(n)) return '–';
  let value = n;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toPrecision(3).replace(/\.?0+$/, (zeros) => (zeros.startsWith('.') ? '' : zeros))} ${UNITS[unit]}`;
}

/** `42 s`, `3 min`, `2 h 5 min`, `4 d`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return '–';
  const zh = prefs.language === 'zh';
  const [s, min, h, d] = zh ? ['秒', '分钟', '小时', '天'] : ['s', 'min', 'h', 'd'];
  const whole = Math.max(0, seconds);
  if (whole < 10) return `${Math.round(whole * 10) / 10} ${s}`;
  if (whole < 90) return `${Math.round(whole)} ${s}`;
  if (whole < 5400) return `${Math.round(whole / 60)} ${min}`;
  if (whole < 129_600) {
    const minutes = Math.round(whole / 60);
    return `${Math.floor(minutes / 60)} ${h} ${minutes % 60} ${min}`;
  }
  return `${Math.round(whole / 86_400)} ${d}`;
}

export function number(n: number | null | undefined, digits = 0): string {
  if (n === null || n === undefined || !Number.isFinite(n)) return '–';
  return new Intl.NumberFormat(prefs.language === 'zh' ? 'zh-CN' : 'en', { maximumFractionDigits: digits }).format(n);
}

/** A share between 0 and 1. */
export function percent(share: number | null | undefined, digits = 1): string {
  return share === null || share === undefined ? '–' : `${number(share * 100, digits)} %`;
}

/** `2026-11-28 15:53:44`, in the clock that was chosen. */
export function time(text: string | null | undefined, withDate = true): string {
  if (!text) return '–';
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return text;
  return written(at, prefs.clock === 'utc', withDate);
}

export function written(at: Date, utc: boolean, withDate = true): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const [year, month, day, hour, minute, second] = utc
    ? [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate(), at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()]
    : [at.getFullYear(), at.getMonth(), at.getDate(), at.getHours(), at.getMinutes(), at.getSeconds()];
  const clock = `${two(hour)}:${two(minute)}:${two(second)}${utc ? 'Z' : ''}`;
  return withDate ? `${year}-${two(month + 1)}-${two(day)} ${clock}` : clock;
}

export function secondsSince(text: string | null | undefined, now: number): number | undefined {
  if (!text) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, (now - at) / 1000);
}
