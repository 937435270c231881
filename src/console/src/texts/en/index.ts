import { common } from './common';
import { floor } from './floor';
import { shell } from './shell';

export const en = { common, shell, floor };
