/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Records of jobs, and the words for what they hold. A record owns its strings and blobs; whoever moves one leaves a zeroed one behind. */

#include <errno.h>

#include "basic/str.h"
#include "store/record.h"

static const char id_alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

void job_record_done(JobRecord *r) {
        free(r->pool);
        free(r->method);
        free(r->session);
        free(r->key);
        free(r->trace);
        free(r->worker);
        free(r->code);
        free(r->error);
        blob_unref(r->payload);
        blob_unref(r->result);
        *r = (JobRecord) {};
}

static const char *const state_names[_JOB_STATE_MAX] = {
        [JOB_QUEUED] = "queued",
        [JOB_RUNNING] = "running",
        [JOB_COMPLETED] = "completed",
        [JOB_FAILED] = "failed",
        [JOB_TIMEOUT] = "timeout",
        [JOB_CANCELLED] = "cancelled",
        [JOB_DEAD] = "dead",
};

const char *job_state_to_string(JobState s) {
        return state_names[s];
}

int job_state_from_string(const char *s) {
        for (int i = 0; i < _JOB_STATE_MAX; i++)
                if (streq(state_names[i], s))
                        return i;
        return -EINVAL;
}

static const char *const durability_names[_DURABLE_MAX] = {
        [DURABLE_NO] = "no",
        [DURABLE_PROCESS] = "process",
        [DURABLE_YES] = "yes",
};

const char *durability_to_string(Durability d) {
        return durability_names[d];
}

int durability_from_string(const char *s) {
        for (int i = 0; i < _DURABLE_MAX; i++)
                if (streq(durability_names[i], s))
                        return i;
        return -EINVAL;
}

char *job_id_format(uint64_t id, char buf[JOB_ID_TEXT_MAX]) {
        char *p = buf + JOB_ID_TEXT_MAX - 1;

        *p = 0;
        do {
                *--p = id_alphabet[id & 31];
                id >>= 5;
        } while (id > 0);
        memmove(buf, p, (size_t) (buf + JOB_ID_TEXT_MAX - p));
        return buf;
}

int job_id_parse(const char *s, uint64_t *ret) {
        uint64_t v = 0;
        size_t l = strlen(s);

        if (l == 0 || l > 13)
                return -EINVAL;
        for (; *s; s++) {
                const char *k = strchr(id_alphabet, *s);

                if (!k || v >> 59)
                        return -EINVAL;
                v = v << 5 | (uint64_t) (k - id_alphabet);
        }
        *ret = v;
        return 0;
}

uint64_t job_id_at(uint64_t realtime_usec) {
        if (realtime_usec <= JOB_ID_EPOCH_USEC)
                return 0;
        uint64_t ms = (realtime_usec - JOB_ID_EPOCH_USEC) / USEC_PER_MSEC;
        return ms > UINT64_MAX >> (JOB_ID_SEQUENCE_BITS + 2) ? UINT64_MAX >> 2 : ms << JOB_ID_SEQUENCE_BITS;
}
