/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The states of a pool, as one table: what each event means in each state. Nothing else changes Pool.state. Whether jobs are dispatched, workers
 * started and new jobs taken is asked of the state, in pool.c and pool-jobs.c; the breaker is beside it (breaker.c), because a pool that was drained
 * can have an open one too.
 *
 * docs/ARCHITECTURE.md has the same table, and a unit test compares the two.
 */

#include "basic/str.h"
#include "pool/pool-internal.h"

enum {
        PEND = POOL_PENDING,
        INIT = POOL_INITIALIZING,
        RUN = POOL_RUNNING,
        SCAL = POOL_SCALING,
        DEGR = POOL_DEGRADED,
        DRAI = POOL_DRAINING,
        STOP = POOL_STOPPED,
        FAIL = POOL_FAILED,
        CLOS = POOL_CLOSING,
        BUG = _POOL_STATE_MAX, /* cannot happen */
};

/* clang-format off */
static const uint8_t table[_POOL_EVENT_MAX][_POOL_STATE_MAX] = {
        /*                             PEND   INIT   RUN    SCAL   DEGR   DRAI   STOP   FAIL   CLOS */
        [POOL_EV_BEGIN] =           { INIT,  INIT,  RUN,   SCAL,  DEGR,  DRAI,  STOP,  FAIL,  CLOS },
        [POOL_EV_FULL] =            { BUG,   RUN,   RUN,   RUN,   BUG,   BUG,   BUG,   BUG,   BUG  },
        [POOL_EV_SCALE] =           { PEND,  INIT,  SCAL,  SCAL,  DEGR,  DRAI,  STOP,  FAIL,  BUG  },
        [POOL_EV_BREAKER_OPENED] =  { DEGR,  DEGR,  DEGR,  DEGR,  DEGR,  DRAI,  STOP,  FAIL,  CLOS },
        [POOL_EV_RECOVERED] =       { BUG,   INIT,  RUN,   SCAL,  RUN,   DRAI,  STOP,  FAIL,  CLOS },
        [POOL_EV_PERMANENT] =       { BUG,   FAIL,  FAIL,  FAIL,  FAIL,  FAIL,  FAIL,  FAIL,  CLOS },
        [POOL_EV_DRAIN] =           { DRAI,  DRAI,  DRAI,  DRAI,  DRAI,  DRAI,  STOP,  DRAI,  CLOS },
        [POOL_EV_IDLE] =            { PEND,  INIT,  RUN,   SCAL,  DEGR,  STOP,  STOP,  FAIL,  CLOS },
        [POOL_EV_RESUME] =          { PEND,  INIT,  RUN,   SCAL,  INIT,  INIT,  INIT,  INIT,  CLOS },
        [POOL_EV_RENEWED] =         { PEND,  INIT,  RUN,   SCAL,  INIT,  DRAI,  STOP,  INIT,  CLOS },
        [POOL_EV_CLOSE] =           { CLOS,  CLOS,  CLOS,  CLOS,  CLOS,  CLOS,  CLOS,  CLOS,  CLOS },
        [POOL_EV_REOPEN] =          { BUG,   BUG,   BUG,   BUG,   BUG,   BUG,   BUG,   BUG,   INIT },
};
/* clang-format on */

static const char *const state_names[_POOL_STATE_MAX] = {
        [POOL_PENDING] = "pending",
        [POOL_INITIALIZING] = "initializing",
        [POOL_RUNNING] = "running",
        [POOL_SCALING] = "scaling",
        [POOL_DEGRADED] = "degraded",
        [POOL_DRAINING] = "draining",
        [POOL_STOPPED] = "stopped",
        [POOL_FAILED] = "failed",
        [POOL_CLOSING] = "draining", /* to the end, and for good */
};

static const char *const event_names[_POOL_EVENT_MAX] = {
        [POOL_EV_BEGIN] = "begin",
        [POOL_EV_FULL] = "full",
        [POOL_EV_SCALE] = "scale",
        [POOL_EV_BREAKER_OPENED] = "breaker opened",
        [POOL_EV_RECOVERED] = "recovered",
        [POOL_EV_PERMANENT] = "permanent",
        [POOL_EV_DRAIN] = "drain",
        [POOL_EV_IDLE] = "idle",
        [POOL_EV_RESUME] = "resume",
        [POOL_EV_RENEWED] = "renewed",
        [POOL_EV_CLOSE] = "close",
        [POOL_EV_REOPEN] = "reopen",
};

const char *pool_state_to_string(PoolState s) {
        return state_names[s];
}

const char *pool_event_to_string(PoolEvent e) {
        return event_names[e];
}

PoolState pool_state_next(PoolState s, PoolEvent e, bool *ret_bug) {
        *ret_bug = table[e][s] == BUG;
        return *ret_bug ? s : (PoolState) table[e][s];
}

void pool_event(Pool *p, PoolEvent e) {
        bool bug;
        PoolState next = pool_state_next(p->state, e, &bug);

        if (bug)
                log_write(p->host->log, LOG_ERR, "Internal error: pool %s met '%s', which cannot be in state %s", p->name, event_names[e],
                          state_names[p->state]);
        if (next == p->state)
                return;
        p->state = next;
        if (p->changed)
                p->changed(p);
}
