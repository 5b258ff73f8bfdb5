/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The sockets. Accepting has the lowest priority, a few connections per round, and stops for as long as descriptors run out: those who are
 * here are served before new ones come in. Everybody may connect; what a connection may do is decided by its credentials.
 */

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/state.h"
#include "control/server.h"

#define ACCEPT_MAX 32                 /* connections per round */
#define ACCEPT_PAUSE_USEC 100000ULL   /* after running out of descriptors */
#define REFUSED_TELL_USEC (10 * USEC_PER_SEC)

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Server *s = userdata;

        (void) source;
        (void) revents;
        for (unsigned i = 0; i < ACCEPT_MAX; i++) {
                int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (c < 0)
                        return 0; /* EAGAIN; or out of descriptors: the source is rate-limited and comes again */
                if (fd == s->control_fd)
                        control_client_new(s, c);
                else
                        job_client_new(s, c);
        }
        return 0;
}

int server_init(Server *s, Host *h, JobTable *t, Router *r, const ServerOps *ops, void *userdata) {
        *s = (Server) { .host = h, .jobs = t, .router = r, .ops = ops, .userdata = userdata, .control_fd = -1, .jobs_fd = -1 };
        list_init(&s->control_clients);
        list_init(&s->job_clients);
        bucket_table_init(&s->rates, random_u64());
        return 0;
}

static int listen_on(Server *s, int fd, sd_event_source **ret, const char *name) {
        int r;

        r = fd_set_nonblock(fd, true);
        if (r < 0)
                return r;
        r = sd_event_add_io(s->host->event, ret, fd, EPOLLIN, on_accept, s);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(*ret, name);
        (void) sd_event_source_set_ratelimit(*ret, ACCEPT_PAUSE_USEC, 200);
        return sd_event_source_set_priority(*ret, PRIORITY_ACCEPT);
}

int server_listen(Server *s, int control_fd, int jobs_fd) {
        int r;

        s->control_fd = control_fd;
        s->jobs_fd = jobs_fd;
        r = listen_on(s, control_fd, &s->control_source, "control");
        return r < 0 ? r : listen_on(s, jobs_fd, &s->jobs_source, "jobs");
}

void server_done(Server *s) {
        control_clients_done(s);
        job_clients_done(s);
        bucket_table_done(&s->rates);
        s->control_source = sd_event_source_disable_unref(s->control_source);
        s->jobs_source = sd_event_source_disable_unref(s->jobs_source);
        s->control_fd = fd_close(s->control_fd);
        s->jobs_fd = fd_close(s->jobs_fd);
}

int server_admit(Server *s, const Peer *p, bool control, unsigned n_of_user) {
        unsigned n = control ? s->n_control : s->n_jobs;
        uint64_t now = now_usec();

        if (n < s->limits.connections_max && n_of_user < s->limits.connections_per_user)
                return 0;
        if (s->refused_told == 0 || now - s->refused_told > REFUSED_TELL_USEC) {
                s->refused_told = now;
                event_send(s->host, EVENT_REFUSED, NULL, "Refused a connection of uid %u: %u connections, ConnectionsMax=%u, ConnectionsPerUser=%u", p->uid, n,
                           s->limits.connections_max, s->limits.connections_per_user);
        }
        return -EUSERS;
}

bool server_rate(Server *s, const Peer *p, char **reterr_text) {
        uint64_t wait = 0;
        char span[64];

        if (s->limits.rate == 0 || bucket_table_take(&s->rates, p->uid, s->limits.rate, s->limits.burst, now_usec(), &wait))
                return true;
        s->jobs->refused++;
        *reterr_text = str_printf("uid %u may submit ClientRateLimit=%u jobs a second; come again in %s", p->uid, s->limits.rate,
                                  usec_format(span, sizeof(span), wait));
        return false;
}

void server_refused(Server *s, const Peer *p, const char *what, const char *group) {
        uint64_t now = now_usec();

        if (s->refused_told > 0 && now - s->refused_told <= REFUSED_TELL_USEC)
                return;
        s->refused_told = now;
        event_send(s->host, EVENT_REFUSED, NULL, "Refused %s to uid %u, pid %d: it is not in the group '%s'", what, p->uid, (int) p->pid, group);
}

void server_event(Server *s, const KeptEvent *e) {
        control_clients_event(s, e);
}

int server_serialize(Server *s, StateWriter *sw, json_object *o) {
        json_object *control = json_object_new_array(), *jobs = json_object_new_array();
        int r;

        state_put_fd(sw, o, "control", s->control_fd);
        state_put_fd(sw, o, "jobs", s->jobs_fd);
        r = control_clients_serialize(s, sw, control);
        if (r >= 0)
                r = job_clients_serialize(s, sw, jobs);
        state_put_object(sw, o, "control_clients", control);
        state_put_object(sw, o, "job_clients", jobs);
        return r < 0 ? r : sw->error;
}

int server_deserialize(Server *s, const StateReader *sr, const json_object *o) {
        json_object *control = state_get_object(o, "control_clients"), *jobs = state_get_object(o, "job_clients");
        int r;

        r = server_listen(s, state_get_fd(o, "control"), state_get_fd(o, "jobs"));
        for (size_t i = 0; r >= 0 && control && i < json_object_array_length(control); i++)
                r = control_client_deserialize(s, sr, json_object_array_get_idx(control, i));
        for (size_t i = 0; r >= 0 && jobs && i < json_object_array_length(jobs); i++)
                r = job_client_deserialize(s, sr, json_object_array_get_idx(jobs, i));
        return r;
}
