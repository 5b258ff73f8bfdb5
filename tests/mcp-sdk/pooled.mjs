// SPDX-License-Identifier: LGPL-2.1-or-later
// pooled.mjs ERA COMMAND [ARGUMENT...]: an official SDK ("legacy" the first one, "modern" the second one) as a client of that command, which offers the
// reference server as everything__*. Prints one JSON object that says what it has seen.

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.env.MCP_SDK + '/');
const load = (name) => import(pathToFileURL(require.resolve(name)));
const [era, command, ...args] = process.argv.slice(2);
const legacy = era === 'legacy';
const { Client } = await load(legacy ? '@modelcontextprotocol/sdk/client/index.js' : '@modelcontextprotocol/client');
const { StdioClientTransport } = await load(legacy ? '@modelcontextprotocol/sdk/client/stdio.js' : '@modelcontextprotocol/client/stdio');
const client = new Client({ name: 'sdk-test', version: '1.0.0' },
        legacy ? { capabilities: {} } : { versionNegotiation: { mode: { pin: '2026-07-28' } } });
const errors = [];
client.onerror = (e) => errors.push(String(e));
await client.connect(new StdioClientTransport({ command, args }));

const seen = {};
const end = Date.now() + 60000;
do // the server is asked in the background
        seen.tools = (await client.listTools(undefined, { cacheMode: 'refresh' })).tools.map((t) => t.name).filter((n) => n.startsWith('everything__'));
while (seen.tools.length === 0 && Date.now() < end && await new Promise((r) => setTimeout(() => r(true), 200)));
const call = (name, args, options) => client.callTool({ name: 'everything__' + name, arguments: args }, ...(legacy ? [undefined] : []), options);
seen.echo = (await call('echo', { message: 'hällo' })).content[0].text;
seen.sum = (await call('get-sum', { a: 2, b: 3 })).content[0].text;
seen.structured = (await call('get-structured-content', { location: 'New York' })).structuredContent; // held against its schema
const progress = [];
await call('trigger-long-running-operation', { duration: 1, steps: 4 }, { onprogress: (p) => progress.push(p.progress) });
seen.progress = progress.length > 0 && progress.every((p, i) => i === 0 || p > progress[i - 1]);
seen.wrong = (await call('get-sum', { a: 'x' })).isError;
seen.many = (await Promise.all([...Array(100).keys()].map((i) => call('echo', { message: `n${i}` })))).every((r, i) => r.content[0].text.includes(`n${i}`));
const resources = (await client.listResources()).resources.filter((r) => r.uri.startsWith('demo://'));
seen.resources = resources.length;
seen.read = (await client.readResource({ uri: resources[0].uri })).contents[0].text.length > 0;
seen.templates = (await client.listResourceTemplates()).resourceTemplates.filter((t) => t.uriTemplate.startsWith('demo://')).length;
seen.prompts = (await client.listPrompts()).prompts.map((p) => p.name).filter((n) => n.startsWith('everything__'));
seen.prompt = (await client.getPrompt({ name: 'everything__simple-prompt' })).messages.length;
seen.errors = errors;
await client.close();
console.log(JSON.stringify(seen));
