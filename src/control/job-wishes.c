/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The items of a JOB frame that say where the job wants to go; without any, flowd chooses. */

#include "control/job-wishes.h"

int job_wishes_read(const FrameMeta *m, JobWishes *w, RouteRequest *ret) {
        const struct {
                FrameTag tag;
                char *buf;
                size_t size;
                const char **to;
        } texts[] = {
                { FRAME_META_POOL, w->pool, sizeof(w->pool), &ret->pool },
                { FRAME_META_TIER, w->tier, sizeof(w->tier), &ret->tier },
                { FRAME_META_WORKER_TYPE, w->worker_type, sizeof(w->worker_type), &ret->worker_type },
                { FRAME_META_STRATEGY, w->strategy, sizeof(w->strategy), &ret->strategy },
                { FRAME_META_FALLBACK, w->fallback, sizeof(w->fallback), &ret->fallback },
        };
        uint32_t weight = 0;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                int r = frame_meta_text(m, texts[i].tag, texts[i].buf, texts[i].size);

                if (r < 0)
                        return r;
                if (r > 0)
                        *texts[i].to = texts[i].buf;
        }
        (void) frame_meta_u32(m, FRAME_META_WEIGHT, &weight);
        ret->weight = weight;
        return 0;
}
