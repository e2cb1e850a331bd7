// Writes src/message-types.js from docs/protocol.schema.json: `node client/tools/message-types.js`.

import { readFileSync, writeFileSync } from 'node:fs';

const SCHEMA = new URL('../../docs/protocol.schema.json', import.meta.url);
const TARGET = new URL('../src/message-types.js', import.meta.url);

/** `Error` is a name that JavaScript has already. */
const NAMES = { Error: 'ErrorMessage' };
const nameOf = (title) => NAMES[title] ?? title;

/** A JSON Schema as a type of TypeScript; only what the protocol's schema has in it. */
function typeOf(schema) {
  if (schema.$ref) return nameOf(schema.$ref.split('/').at(-1));
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(' | ');
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value).replaceAll('"', "'")).join(' | ');
  switch (schema.type) {
    case 'array':
      return `${typeOf(schema.items)}[]`;
    case 'object':
      return `Record<string, ${typeOf(schema.additionalProperties)}>`;
    case 'integer':
    case 'number':
      return 'number';
    case 'string':
    case 'null':
      return schema.type;
    default:
      throw new Error(`No type is known for ${JSON.stringify(schema)}`);
  }
}

function typedef({ title, description, properties, required }) {
  const lines = Object.entries(properties).map(([name, schema]) => {
    const key = required.includes(name) ? name : `[${name}]`;
    return ` * @property {${typeOf(schema)}} ${key}${schema.description ? ` ${schema.description}` : ''}`;
  });
  const words = description.replaceAll('``', '`');
  return ['/**', ` * ${words}`, ` * @typedef {object} ${nameOf(title)}`, ...lines, ' */'].join('\n');
}

/** @returns {string} the module that holds the messages' types */
export function messageTypes() {
  const schema = JSON.parse(readFileSync(SCHEMA, 'utf8'));
  const { mapping } = schema.discriminator;
  const messages = Object.values(mapping).map((ref) => typeOf({ $ref: ref }));
  const types = Object.keys(mapping).map((type) => `'${type}'`);
  return `// Written by tools/message-types.js from docs/protocol.schema.json, which docs/protocol.md explains. Do not edit.

/** @typedef {string} Label A label of the model, \`uncertain\` or \`no_speech\`. */

${Object.values(schema.$defs).map(typedef).join('\n\n')}

/** @typedef {${messages.join(' | ')}} Message */

/** The types of message in this version. */
export const MESSAGE_TYPES = [${types.join(', ')}];
`;
}

if (process.argv[1] && import.meta.url.endsWith(process.argv[1].replaceAll('\\', '/'))) {
  writeFileSync(TARGET, messageTypes());
}
