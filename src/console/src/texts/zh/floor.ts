import type { floor as english } from '../en/floor';

export const floor: typeof english = {
  title: '车间',
  tasksToday: '当前任务',
};
