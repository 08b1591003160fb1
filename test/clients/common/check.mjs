// What the checks in JavaScript share: to say what was seen to be right, and to fail where it was not.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/** Fails unless the two values are deeply equal; says what was checked if they are. */
export function equal(seen, expected, what) {
	assert.deepEqual(seen, expected, what);
	console.log(`ok: ${what}`);
}

/** Fails unless the condition is true. */
export function ok(condition, what) {
	assert.ok(condition, what);
	console.log(`ok: ${what}`);
}

/** Print the version of an npm package that the check uses, read from its own manifest. */
export function version(...names) {
	const require = createRequire(pathToFileURL(process.cwd() + '/'));
	const { readFileSync } = require('node:fs');
	for (const name of names)
		console.log(`version: ${name} ${JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version}`);
}

/** The names of pg_derive's own schemas. */
export const ours = ['derive', 'derive_state'];
