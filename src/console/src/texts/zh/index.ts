import type { Texts } from '..';
import { common } from './common';
import { floor } from './floor';
import { shell } from './shell';

export const zh: Texts = { common, shell, floor };
