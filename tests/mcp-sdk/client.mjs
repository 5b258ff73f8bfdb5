// SPDX-License-Identifier: LGPL-2.1-or-later
// client.mjs ERA COMMAND [ARGUMENT...]: an official SDK as a client of that command: "legacy" the first one, "modern" and "auto" the second one.
// Prints one JSON object that says what it has seen; whatever the SDK does not like ends it with an error.

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// the packages are in the build tree, this file is not
const require = createRequire(process.env.MCP_SDK + '/');
const load = (name) => import(pathToFileURL(require.resolve(name)));
const [era, command, ...args] = process.argv.slice(2);
const info = { name: 'sdk-test', version: '1.0.0' };
let client, transport;

if (era === 'legacy') {
        const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
        const { StdioClientTransport } = await load('@modelcontextprotocol/sdk/client/stdio.js');
        client = new Client(info, { capabilities: {} });
        transport = new StdioClientTransport({ command, args });
} else {
        const { Client } = await load('@modelcontextprotocol/client');
        const { StdioClientTransport } = await load('@modelcontextprotocol/client/stdio');
        client = new Client(info, { versionNegotiation: { mode: era === 'auto' ? 'auto' : { pin: '2026-07-28' } } });
        transport = new StdioClientTransport({ command, args });
}
const errors = [];
client.onerror = (e) => errors.push(String(e));
await client.connect(transport);

const seen = { server: client.getServerVersion()?.name, capabilities: Object.keys(client.getServerCapabilities() ?? {}) };
seen.tools = (await client.listTools()).tools.map((t) => t.name);
seen.pools = (await client.callTool({ name: 'pool_list', arguments: {} })).structuredContent.pools.map((p) => p.pool_id);
const run = await client.callTool({ name: 'pool_execute', arguments: { pool_id: 'hot', prompt: 'hällo' } });
seen.output = run.structuredContent.output;
const progress = [];
await client.callTool({ name: 'pool_execute_batch', arguments: { pool_id: 'hot', prompts: Array(24).fill('x'), method: 'sleep:100' } },
        ...(era === 'legacy' ? [undefined] : []), { onprogress: (p) => progress.push(p.progress) });
seen.progress = progress.length > 0;
const many = await Promise.all([...Array(200).keys()].map((i) => client.callTool({ name: 'pool_execute', arguments: { pool_id: 'hot', prompt: `n${i}` } })));
seen.many = many.every((r, i) => r.structuredContent.output === `n${i}`);
const failed = await client.callTool({ name: 'pool_execute', arguments: { pool_id: 'hot', prompt: 'x', method: 'fail' } });
seen.failed = [failed.isError, failed.structuredContent.status];
seen.batch = (await client.callTool({ name: 'pool_execute_batch', arguments: { pool_id: 'hot', prompts: ['a', 'b'] } })).structuredContent.completed;
const job = (await client.callTool({ name: 'job_submit', arguments: { pool_id: 'hot', prompt: 'later' } })).structuredContent.job_id;
seen.later = (await client.callTool({ name: 'job_result', arguments: { job_id: job, wait: 20 } })).structuredContent.data;
for (const name of ['pool_monitor', 'pool_health', 'job_list'])
        await client.callTool({ name, arguments: {} }); // the SDK holds each against its output schema
seen.unknown = await client.callTool({ name: 'none', arguments: {} }).then(() => 0, (e) => e.code);
seen.resources = (await client.listResources()).resources.map((r) => r.uri);
seen.templates = (await client.listResourceTemplates()).resourceTemplates.length;
seen.read = JSON.parse((await client.readResource({ uri: 'flow://pools/hot' })).contents[0].text).name;
seen.prompts = (await client.listPrompts()).prompts.map((p) => p.name);
seen.messages = (await client.getPrompt({ name: 'diagnose_pool', arguments: { pool: 'hot' } })).messages.length;
seen.completion = (await client.complete({ ref: { type: 'ref/prompt', name: 'diagnose_pool' }, argument: { name: 'pool', value: 'h' } })).completion.values;
const controller = new AbortController();
const cancelled = client.callTool({ name: 'pool_execute', arguments: { pool_id: 'hot', prompt: 'x', method: 'sleep:60000' } },
        ...(era === 'legacy' ? [undefined] : []), { signal: controller.signal }).then(() => 'answered', () => 'cancelled');
setTimeout(() => controller.abort('test'), 200);
seen.cancelled = await cancelled;
if (era === 'legacy') {
        await client.ping();
        await client.setLoggingLevel('info');
        await client.subscribeResource({ uri: 'flow://pools/hot' });
}
// progress that comes in one read with the result is too late for the SDKs, which hear of the result first
seen.errors = errors.filter((e) => !e.includes('unknown token'));
await client.close();
console.log(JSON.stringify(seen));
