/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What flowd keeps of itself in the store: put, replaced, removed, found after a restart and after damage; and its limits. */

#include "store-kit.h"
#include "unit.h"

static Kit kit;

static int change(Kit *k, StoreOp op, const char *key, const char *value) {
        StoreRequest *r = kit_request(op);

        r->state_key = strdup(key);
        r->state_value = value ? strdup(value) : NULL;
        r = kit_run(k, r);
        int error = r->error;
        store_request_free(r);
        return error;
}

static int collect(const char *key, const char *value, void *userdata) {
        char *all = userdata;

        strcat(all, key);
        strcat(all, "=");
        strncat(all, value, 20);
        strcat(all, ";");
        return streq(key, "stop") ? -EXDEV : 0;
}

static void expect(Kit *k, const char *all) {
        char found[1024] = "";

        ck_assert_int_eq(store_load_state(k->store, collect, found), 0);
        ck_assert_str_eq(found, all);
}

START_TEST(test_kept) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        expect(k, "");
        ck_assert_int_eq(change(k, STORE_OP_STATE_PUT, "pool/b", "{}"), 0);
        ck_assert_int_eq(change(k, STORE_OP_STATE_PUT, "pool/a", "1"), 0);
        ck_assert_int_eq(change(k, STORE_OP_STATE_PUT, "pool/a", "2"), 0);
        ck_assert_int_eq(change(k, STORE_OP_STATE_DELETE, "pool/none", NULL), 0);
        expect(k, "pool/a=2;pool/b={};");
        kit_reopen(k);
        expect(k, "pool/a=2;pool/b={};");
        ck_assert_int_eq(change(k, STORE_OP_STATE_DELETE, "pool/a", NULL), 0);
        kit_reopen(k);
        expect(k, "pool/b={};");
        kit_done(k);
}
END_TEST

START_TEST(test_bounded) {
        static char value[STORE_STATE_VALUE_MAX + 2], key[STORE_STATE_KEY_MAX + 1];
        Kit *k = &kit;
        char found[1024] = "";

        kit_init(k);
        kit_open_well(k);
        memset(value, 'v', STORE_STATE_VALUE_MAX + 1);
        memset(key, 'k', STORE_STATE_KEY_MAX);
        ck_assert_int_eq(change(k, STORE_OP_STATE_PUT, "a", value), -EMSGSIZE);
        ck_assert_int_eq(change(k, STORE_OP_STATE_PUT, key, "v"), -EMSGSIZE);
        value[STORE_STATE_VALUE_MAX] = 0;
        key[STORE_STATE_KEY_MAX - 1] = 0;
        ck_assert_int_eq(change(k, STORE_OP_STATE_PUT, "a", value), 0);
        expect(k, "a=vvvvvvvvvvvvvvvvvvvv;");
        ck_assert_int_eq(change(k, STORE_OP_STATE_PUT, key, "v"), 0);
        ck_assert_int_eq(change(k, STORE_OP_STATE_PUT, "stop", "here"), 0);
        ck_assert_int_eq(store_load_state(k->store, collect, found), -EXDEV); /* what the callback says ends it */
        kit_done(k);
}
END_TEST

/* The salvage after damage brings it over. */
START_TEST(test_salvaged) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        ck_assert_int_eq(change(k, STORE_OP_STATE_PUT, "pool/a", "1"), 0);
        kit_close(k);
        kit_sql(k->path, "DROP TABLE keys");
        kit_open(k);
        ck_assert_int_eq(store_health(k->store), STORE_DAMAGED);
        expect(k, "pool/a=1;");
        kit_done(k);
}
END_TEST

START_TEST(test_without_a_store) {
        Kit *k = &kit;

        kit_init(k);
        k->config.off = true;
        ck_assert_int_eq(store_open(&k->config, &k->hot, NULL, kit_changed, k, &k->store), 0);
        expect(k, "");
        ck_assert_int_lt(change(k, STORE_OP_STATE_PUT, "a", "1"), 0);
        kit_done(k);
}
END_TEST

UNIT_MAIN("store-kept", test_kept, test_bounded, test_salvaged, test_without_a_store)
