/** node.mjs MODULE FILES: runs vectors in Node, and prints the results as JSON. */

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

import { run } from "./verify.mjs";

const [module, files] = process.argv.slice(2);
const client = await import(pathToFileURL(module));
const results = await run(client, JSON.parse(readFileSync(files, "utf8")));
process.stdout.write(JSON.stringify(results));
