import type { sync as english } from '../en/sync';

export const sync: typeof english = {
  title: '云同步',
};
