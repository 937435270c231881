export const floor = {
  title: 'Floor',
  tasksToday: 'Tasks now',
};
