import type { deliveries as english } from '../en/deliveries';

export const deliveries: typeof english = {
  title: '投递',
};
