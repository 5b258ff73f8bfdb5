/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Routing. The load of a pool is the work in hand and queued over its capacity, never its number of workers; ties rotate, so that idle
 * pools share. A refusal by one pool of a tier is followed by the next one, the last refusal is what the caller hears.
 */

#include <errno.h>

#include "route/route.h"

static double load(const Pool *p) {
        return (double) (p->n_running + p->n_queued) / pool_capacity(p);
}

/* The usable pool of the tier with the least load. */
static Pool *least_loaded(Router *r, Tier tier) {
        Pool *best = NULL;
        unsigned n = 0, ties = 0;

        LIST_FOREACH(l, r->pools) {
                Pool *p = list_entry(l, Pool, link);

                if (p->config->tier != tier || pool_held(p) || !pool_usable(p))
                        continue;
                n++;
                if (!best || load(p) < load(best)) {
                        best = p;
                        ties = 1;
                } else if (load(p) == load(best) && r->turn % ++ties == 0)
                        best = p;
        }
        if (n > 1)
                r->turn++;
        return best;
}

static int no_pool(Router *r, const char *name, char **reterr_text) {
        _cleanup_free_ char *known = NULL;

        LIST_FOREACH(l, r->pools) {
                char *s = str_printf("%s%s%s", strempty(known), known ? ", " : "", list_entry(l, Pool, link)->name);

                free(known);
                known = s;
        }
        *reterr_text = str_printf("there is no pool '%s'; the pools are: %s", name, known ? known : "none");
        return -ENOENT;
}

static int submit_tier(Router *r, Job *j, Tier tier, char **reterr_text) {
        Pool *p = least_loaded(r, tier);

        if (!p) {
                *reterr_text = str_printf("no pool of tier %s can take a job now; see 'flowctl pool list'", tier_to_string(tier));
                return -ENOTCONN;
        }
        return pool_submit(p, j, reterr_text);
}

int route_submit(Router *r, Job *j, const char *pool, const char *tier, char **reterr_text) {
        int k = -ENOTCONN;

        if (pool) {
                Pool *p = pool_find(r->by_name, r->pools, pool);

                return p ? pool_submit(p, j, reterr_text) : no_pool(r, pool, reterr_text);
        }
        if (tier) {
                int t = tier_from_string(tier);

                if (t < 0) {
                        *reterr_text = str_printf("'%s' is no tier; hot, warm and cold are", tier);
                        return -ENOENT;
                }
                return submit_tier(r, j, (Tier) t, reterr_text);
        }
        for (Tier t = TIER_HOT; t < _TIER_MAX; t++) {
                free(*reterr_text);
                *reterr_text = NULL;
                k = submit_tier(r, j, t, reterr_text);
                if (k >= 0 || k == -EMSGSIZE)
                        return k;
        }
        return k;
}
