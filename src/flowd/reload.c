/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reload. The whole new configuration is loaded and checked first; a single error refuses it, and nothing has changed. Applying it cannot
 * fail for a pool that exists: pools whose definition is the same are not touched, changed ones replace their workers when idle, removed
 * ones finish what they have.
 */

#include <errno.h>
#include <json-c/json.h>

#include "flowd/manager.h"
#include "flowd/spawned.h"
#include "worker/mcp-catalog.h"

static json_object *messages_array(const Config *c) {
        json_object *a = json_object_new_array();

        for (size_t i = 0; i < c->n_messages; i++) {
                _cleanup_free_ char *text = config_message_format(&c->messages[i]);

                json_object_array_add(a, json_object_new_string(strempty(text)));
        }
        return a;
}

static json_object *settings_array(const Config *old, const Config *fresh) {
        json_object *a = json_object_new_array();
        const char *key;

        for (size_t i = 0; (key = config_flowd_key(i)); i++)
                if (!config_flowd_key_equal(old, fresh, key))
                        json_object_array_add(a, json_object_new_string(key));
        return a;
}

static void refused(Manager *m, const Config *c) {
        for (size_t i = 0; i < c->n_messages; i++) {
                _cleanup_free_ char *text = config_message_format(&c->messages[i]);

                if (!c->messages[i].error || !text)
                        continue;
                if (!m->config_error)
                        m->config_error = strdup(text);
                event_send(&m->host, EVENT_RELOAD_REFUSED, NULL, "The configuration is refused, nothing was changed: %s", text);
        }
}

static int apply(Manager *m, Config *fresh, json_object *changed) {
        /* new pools first: only they can fail, and then nothing has changed yet */
        for (size_t i = 0; i < fresh->n_pools; i++) {
                Pool *p = manager_pool(m, fresh->pools[i]->name);

                if (p)
                        continue;
                int r = manager_add_pool(m, fresh->pools[i], &p);
                if (r < 0)
                        return r;
                json_object_array_add(changed, json_object_new_string(p->name));
                pool_start(p);
        }
        LIST_FOREACH(l, &m->pools) {
                Pool *p = list_entry(l, Pool, link);
                PoolConfig *c = config_find_pool(fresh, p->name);

                if (!c) {
                        if (p->state != POOL_CLOSING) {
                                json_object_array_add(changed, json_object_new_string(p->name));
                                pool_close(p);
                        }
                        continue;
                }
                if (p->config == c)
                        continue;
                bool same = pool_config_equal(p->config, c) && worker_type_equal(p->config->type, c->type) &&
                        worker_type_caches_equally(p->config->type, c->type);
                bool reopen = p->state == POOL_CLOSING;
                if (!same || reopen)
                        json_object_array_add(changed, json_object_new_string(p->name));
                if (reopen)
                        pool_reopen(p);
                pool_reconfigure(p, c);
        }
        return 0;
}

/* True where a type of the new configuration has this definition. */
static bool catalog_wanted(const McpCatalog *c, void *userdata) {
        const Config *config = userdata;

        for (size_t i = 0; i < config->n_types; i++)
                if (streq(config->types[i]->name, c->type) && worker_type_fingerprint(config->types[i]) == c->fingerprint)
                        return true;
        return false;
}

/* Whether there is a store is known when it is opened, and jobs rely on it until the end. */
static int check_store(const Manager *m, Config *fresh) {
        if (!m->store || (store_health(m->store) == STORE_OFF) != fresh->store)
                return 0;
        return config_flowd_key_warning(fresh, "Store", "Store= is read at start; restart flowd");
}

int manager_reload(Manager *m, json_object **ret_changed, json_object **ret_settings, json_object **ret_messages) {
        _cleanup_(config_freep) Config *fresh = NULL;
        int r;

        if (m->stopping)
                return -ESHUTDOWN;
        manager_notify(m, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long) now_usec());
        free(m->config_error);
        m->config_error = NULL;
        r = config_load(&m->paths, &fresh);
        if (r >= 0)
                r = spawned_carry(m, fresh);
        if (r >= 0)
                r = check_store(m, fresh);
        if (r >= 0) {
                *ret_messages = messages_array(fresh);
                if (fresh->n_errors > 0) {
                        refused(m, fresh);
                        r = -EBADMSG;
                }
        }
        if (r >= 0) {
                *ret_settings = settings_array(m->config, fresh);
                *ret_changed = json_object_new_array();
                r = route_configure(&m->router, &fresh->route);
                if (r >= 0)
                        r = apply(m, fresh, *ret_changed);
                if (r < 0)
                        (void) route_configure(&m->router, &m->config->route);
                route_pools_changed(&m->router);
        }
        if (r >= 0) {
                size_t pools = json_object_array_length(*ret_changed), settings = json_object_array_length(*ret_settings);
                Config *old = m->config;

                m->config = TAKE_PTR(fresh);
                config_free(old);
                mcp_catalogs_prune(&m->host.mcp_catalogs, catalog_wanted, m->config);
                log_set_max_level(m->host.log, m->config->log_level);
                manager_apply_limits(m);
                manager_adopt_waiting(m);
                event_send(&m->host, EVENT_RELOADED, NULL, "The configuration was reloaded; %zu pool%s changed, %zu setting%s of flowd.conf",
                           pools, plural(pools), settings, plural(settings));
        }
        hot_defer(&m->host.hot, &m->changed);
        if (m->ready)
                manager_notify(m, "READY=1");
        return r;
}
