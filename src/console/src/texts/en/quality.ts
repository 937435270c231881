export const quality = {
  title: 'Quality',
};
