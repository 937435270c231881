// The registries, each in its own words. Pages, forms and tables are made of this.

import type { Kind } from './kind';

const TIMES = [{ key: 'created_at', as: 'time' }, { key: 'updated_at', as: 'time' }] as const;
const WORD = { key: 'keyword', input: 'text' } as const;
const IN_FACTORY = { key: 'factory_id', input: 'ref', of: 'factories' } as const;

export const KINDS: Kind[] = [
  {
    name: 'factories', page: 'registry', title: 'name', category: 'factory',
    columns: [{ key: 'name' }, { key: 'location' }, { key: 'timezone' }, { key: 'sceneCount', as: 'number' }, { key: 'orgCount', as: 'number' }, TIMES[1]],
    details: [{ key: 'slug', as: 'copy' }, { key: 'settings', as: 'json' }, TIMES[0]],
    filters: [WORD],
    fields: [{ key: 'name', required: true, unique: true }, { key: 'location' }, { key: 'timezone' }, { key: 'settings', input: 'json' }],
    uses: [{ of: 'organizations', filter: 'factory_id' }, { of: 'scenes', filter: 'factory_id' }, { of: 'robots', filter: 'factory_id' }],
  },
  {
    name: 'organizations', page: 'registry', title: 'name', category: 'organization', first: 'factories',
    columns: [{ key: 'name' }, { key: 'factory_id', to: { kind: 'factories' } }, { key: 'description', as: 'long' }, TIMES[1]],
    details: [{ key: 'slug', as: 'copy' }, { key: 'settings', as: 'json' }, TIMES[0]],
    filters: [WORD, IN_FACTORY],
    fields: [
      { key: 'factory_id', input: 'ref', of: 'factories', required: true, only: 'new' }, { key: 'name', required: true, unique: true },
      { key: 'description', input: 'long' }, { key: 'settings', input: 'json' },
    ],
    uses: [{ of: 'data_collectors', filter: 'organization_id' }, { of: 'inspectors', filter: 'organization_id' }, { of: 'orders', filter: 'organization_id' }],
  },
  {
    name: 'scenes', page: 'registry', title: 'name', category: 'scene', first: 'factories',
    columns: [{ key: 'name' }, { key: 'factory_id', to: { kind: 'factories' } }, { key: 'description', as: 'long' }, { key: 'subsceneCount', as: 'number' }, TIMES[1]],
    details: [{ key: 'initial_scene_layout_template', as: 'json' }, TIMES[0]],
    filters: [WORD, IN_FACTORY],
    fields: [
      { key: 'factory_id', input: 'ref', of: 'factories', required: true }, { key: 'name', required: true, unique: true },
      { key: 'description', input: 'long' }, { key: 'initial_scene_layout_template', input: 'long' },
    ],
    uses: [{ of: 'subscenes', filter: 'scene_id' }, { of: 'orders', filter: 'scene_id' }],
  },
  {
    name: 'subscenes', page: 'registry', title: 'name', category: 'subscene', first: 'scenes',
    columns: [{ key: 'name' }, { key: 'scene_id', to: { kind: 'scenes' } }, { key: 'description', as: 'long' }, TIMES[1]],
    details: [{ key: 'initial_scene_layout', as: 'json' }, TIMES[0]],
    filters: [WORD, { key: 'scene_id', input: 'ref', of: 'scenes' }],
    fields: [
      { key: 'scene_id', input: 'ref', of: 'scenes', required: true }, { key: 'name', required: true, unique: true },
      { key: 'description', input: 'long' }, { key: 'initial_scene_layout', input: 'long' },
    ],
    uses: [],
  },
  {
    name: 'skills', page: 'registry', title: 'slug', category: 'skill',
    columns: [{ key: 'slug' }, { key: 'skill_version' }, { key: 'description', as: 'long' }, TIMES[1]],
    details: [{ key: 'metadata', as: 'json' }, TIMES[0]],
    filters: [WORD],
    fields: [
      { key: 'slug', required: true, unique: true }, { key: 'version', from: 'skill_version', only: 'new' },
      { key: 'description', input: 'long' }, { key: 'metadata', input: 'json' },
    ],
    uses: [],
  },
  {
    name: 'sops', page: 'registry', title: 'slug', category: 'sop',
    columns: [{ key: 'slug' }, { key: 'sop_version' }, { key: 'description', as: 'long' }, { key: 'skill_sequence', as: 'list', to: { kind: 'skills' } }, TIMES[1]],
    details: [TIMES[0]],
    filters: [WORD],
    fields: [
      { key: 'slug', required: true, unique: true }, { key: 'version', from: 'sop_version', only: 'new' },
      { key: 'description', input: 'long' }, { key: 'skill_sequence', input: 'refs', of: 'skills' },
    ],
    uses: [],
  },
  {
    name: 'robot_types', page: 'registry', title: 'model', category: 'robot_type',
    columns: [{ key: 'model' }, { key: 'name' }, { key: 'manufacturer' }, { key: 'end_effector' }, { key: 'ros_topics', as: 'list' }, TIMES[1]],
    details: [{ key: 'sensor_suite', as: 'json' }, { key: 'capabilities', as: 'json' }, TIMES[0]],
    filters: [WORD],
    fields: [
      { key: 'name', required: true }, { key: 'model', required: true, unique: true }, { key: 'manufacturer' }, { key: 'end_effector' },
      { key: 'ros_topics', input: 'lines' }, { key: 'sensor_suite', input: 'json' }, { key: 'capabilities', input: 'json' },
    ],
    uses: [{ of: 'robots', filter: 'robot_type_id' }],
  },
  {
    name: 'robots', page: 'registry', title: 'device_id', category: 'robot', first: 'robot_types',
    columns: [
      { key: 'device_id' }, { key: 'connected', as: 'flag' }, { key: 'status', as: 'state' }, { key: 'robot_type_model', to: { kind: 'robot_types', id: 'robot_type_id' } },
      { key: 'factory_name', to: { kind: 'factories', id: 'factory_id' } }, { key: 'asset_id' }, TIMES[1],
    ],
    details: [{ key: 'connected_at', as: 'time' }, { key: 'metadata', as: 'json' }, TIMES[0]],
    filters: [
      WORD, IN_FACTORY, { key: 'robot_type_id', input: 'ref', of: 'robot_types' },
      { key: 'status', input: 'choice', choices: ['active', 'maintenance', 'retired'] }, { key: 'connected', input: 'choice', choices: ['true', 'false'] },
    ],
    fields: [
      { key: 'robot_type_id', input: 'ref', of: 'robot_types', required: true }, { key: 'factory_id', input: 'ref', of: 'factories', required: true },
      { key: 'device_id', required: true, unique: true }, { key: 'asset_id', only: 'new' },
      { key: 'status', input: 'choice', choices: ['active', 'maintenance', 'retired'], only: 'change' }, { key: 'metadata', input: 'json' },
    ],
    uses: [],
  },
  {
    name: 'stations', page: 'registry', title: 'name', category: 'station', first: 'robots',
    columns: [
      { key: 'name' }, { key: 'status', as: 'state' }, { key: 'robot_serial', to: { kind: 'robots', id: 'robot_id' } },
      { key: 'collector_name', to: { kind: 'data_collectors', id: 'data_collector_id' } }, { key: 'factory_name', to: { kind: 'factories', id: 'factory_id' } }, TIMES[1],
    ],
    details: [
      { key: 'collector_operator_id', as: 'copy' }, { key: 'robot_type_model', to: { kind: 'robot_types', id: 'robot_type_id' } },
      { key: 'organization_name', to: { kind: 'organizations', id: 'organization_id' } }, { key: 'is_current', as: 'flag' }, { key: 'superseded_by', to: { kind: 'stations' } },
      { key: 'metadata', as: 'json' }, TIMES[0],
    ],
    filters: [
      WORD, IN_FACTORY, { key: 'organization_id', input: 'ref', of: 'organizations' }, { key: 'robot_type_id', input: 'ref', of: 'robot_types' },
      { key: 'status', input: 'choice', choices: ['active', 'inactive', 'break', 'offline'] },
    ],
    fields: [
      { key: 'robot_id', input: 'ref', of: 'robots', required: true }, { key: 'data_collector_id', input: 'ref', of: 'data_collectors', required: true },
      { key: 'status', input: 'choice', choices: ['active', 'inactive', 'break', 'offline'], only: 'change' }, { key: 'metadata', input: 'json' },
    ],
    uses: [{ of: 'batches', filter: 'workstation_id' }, { of: 'tasks', filter: 'workstation_id' }],
  },
];

const IN_ORGANIZATION = { key: 'organization_id', input: 'ref', of: 'organizations' } as const;
const ROLES = ['admin', 'production_manager', 'auditor', 'display'] as const;
const LEVELS = ['level_1', 'level_2', 'senior'] as const;

/** People who sign in. */
export const PEOPLE: Kind[] = [
  {
    name: 'accounts', page: 'people', title: 'login_name', category: 'account',
    columns: [{ key: 'login_name' }, { key: 'name' }, { key: 'role', as: 'text' }, { key: 'status', as: 'state' }, { key: 'factories', as: 'scope', to: { kind: 'factories' } }, TIMES[1]],
    details: [{ key: 'email' }, TIMES[0]],
    filters: [{ key: 'login_name', input: 'text' }, { key: 'role', input: 'choice', choices: ROLES }, { key: 'status', input: 'choice', choices: ['active', 'disabled'] }],
    fields: [
      { key: 'login_name', required: true, unique: true }, { key: 'name', required: true }, { key: 'email', input: 'email' },
      { key: 'role', input: 'choice', choices: ROLES, required: true }, { key: 'factories', input: 'scope', of: 'factories' },
      { key: 'status', input: 'choice', choices: ['active', 'disabled'], only: 'change' }, { key: 'password', input: 'password', required: true, only: 'new' },
    ],
    uses: [],
  },
  {
    name: 'data_collectors', page: 'people', title: 'name', category: 'data_collector', first: 'organizations',
    columns: [
      { key: 'name' }, { key: 'operator_id', as: 'copy' }, { key: 'status', as: 'state' }, { key: 'organization_name', to: { kind: 'organizations', id: 'organization_id' } },
      { key: 'certification' }, TIMES[1],
    ],
    details: [{ key: 'email' }, { key: 'metadata', as: 'json' }, TIMES[0]],
    filters: [WORD, IN_ORGANIZATION, { key: 'status', input: 'choice', choices: ['active', 'inactive', 'on_leave'] }],
    fields: [
      { key: 'organization_id', input: 'ref', of: 'organizations', required: true, only: 'new' }, { key: 'name', required: true },
      { key: 'operator_id', required: true, unique: true }, { key: 'email', input: 'email' }, { key: 'certification' },
      { key: 'status', input: 'choice', choices: ['active', 'inactive', 'on_leave'], only: 'change' }, { key: 'password', input: 'password', required: true, only: 'new' },
      { key: 'metadata', input: 'json' },
    ],
    uses: [],
  },
  {
    name: 'inspectors', page: 'people', title: 'name', category: 'inspector', first: 'organizations',
    columns: [
      { key: 'name' }, { key: 'inspector_id', as: 'copy' }, { key: 'certification_level' }, { key: 'status', as: 'state' },
      { key: 'organization_name', to: { kind: 'organizations', id: 'organization_id' } }, TIMES[1],
    ],
    details: [{ key: 'email' }, { key: 'metadata', as: 'json' }, TIMES[0]],
    filters: [
      { key: 'inspector_name', input: 'text' }, IN_ORGANIZATION, { key: 'certification_level', input: 'choice', choices: LEVELS },
      { key: 'status', input: 'choice', choices: ['active', 'inactive'] },
    ],
    fields: [
      { key: 'organization_id', input: 'ref', of: 'organizations', required: true, only: 'new' }, { key: 'name', required: true },
      { key: 'inspector_id', required: true, unique: true }, { key: 'email', input: 'email' }, { key: 'certification_level', input: 'choice', choices: LEVELS },
      { key: 'status', input: 'choice', choices: ['active', 'inactive'], only: 'change' }, { key: 'password', input: 'password', only: 'new' }, { key: 'metadata', input: 'json' },
    ],
    uses: [],
  },
];

const BY_NAME = new Map([...KINDS, ...PEOPLE].map((kind) => [kind.name as string, kind]));

export function kindOf(name: string): Kind | undefined {
  return BY_NAME.get(name);
}
