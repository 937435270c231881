import { common } from './common';
import { deliveries } from './deliveries';
import { episodes } from './episodes';
import { floor } from './floor';
import { log } from './log';
import { people } from './people';
import { quality } from './quality';
import { registry } from './registry';
import { shell } from './shell';
import { sync } from './sync';
import { units } from './units';

export const en = { common, shell, floor, units, episodes, quality, deliveries, sync, log, people, registry };
