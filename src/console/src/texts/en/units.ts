export const units = {
  title: 'Orders',
};
