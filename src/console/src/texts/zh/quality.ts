import type { quality as english } from '../en/quality';

export const quality: typeof english = {
  title: '质量',
};
