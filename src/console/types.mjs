// `npm run types`: the types of the interface, from the description of a server that runs.

import { writeFile } from 'node:fs/promises';
import openapiTS, { astToString } from 'openapi-typescript';

const description = await (await fetch(`${process.env.KEYSTONE_URL}/api/v1/openapi.json`)).json();
// Several operations may have the same name (`list`): their types would be taken for each other.
for (const [path, operations] of Object.entries(description.paths)) {
  for (const [method, operation] of Object.entries(operations)) {
    if (operation.operationId) operation.operationId = `${method} ${path}`;
  }
}
await writeFile(new URL('src/lib/schema.d.ts', import.meta.url), astToString(await openapiTS(description, { alphabetize: true })));
