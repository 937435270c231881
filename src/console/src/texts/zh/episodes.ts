import type { episodes as english } from '../en/episodes';

export const episodes: typeof english = {
  title: '数据片段',
};
