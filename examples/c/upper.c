/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A worker: turns letters into capitals. cc -o upper upper.c $(pkg-config --cflags --libs libflow) */

#include <ctype.h>
#include <errno.h>
#include <flow/worker.h>
#include <stdlib.h>

static int handle(FlowJob *job, void *userdata) {
        size_t size;
        const unsigned char *text = flow_job_data(job, &size);
        char *upper = malloc(size + 1);

        (void) userdata;
        if (!upper)
                return -ENOMEM; /* the job fails, the worker goes on */
        for (size_t i = 0; i < size; i++)
                upper[i] = (char) toupper(text[i]);

        int r = flow_job_complete(job, flow_job_kind(job), upper, size);
        free(upper);
        return r;
}

int main(void) {
        return flow_worker_run(handle, NULL, NULL);
}
