#!/usr/bin/env node
// SPDX-License-Identifier: LGPL-2.1-or-later
// A worker for Protocol=jsonl: one job a line in, one answer a line out. This one sorts the lines of a text.
const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');

require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
        const job = JSON.parse(line);
        if (!('job' in job)) return; // it is {"cancel": ID}
        if (typeof job.payload !== 'string') return say({ job: job.job, error: { message: 'The payload is no text', retry: false } });
        say({ job: job.job, result: job.payload.split('\n').sort().join('\n') });
});
