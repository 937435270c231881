export const episodes = {
  title: 'Episodes',
};
