import type { units as english } from '../en/units';

export const units: typeof english = {
  title: '订单',
};
