export const sync = {
  title: 'Cloud sync',
};
