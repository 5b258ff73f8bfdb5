/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Parameters of a call, out of JSON: absent and null are the same. */

#include <errno.h>

#include "control/internal.h"

bool parameter_get(json_object *p, const char *key, json_object **ret) {
        json_object *v;

        if (!json_object_object_get_ex(p, key, &v) || json_object_is_type(v, json_type_null))
                return false;
        *ret = v;
        return true;
}

int parameter_text(ControlClient *c, json_object *p, const char *key, const char **ret) {
        json_object *v;

        if (!parameter_get(p, key, &v))
                return 0;
        if (!json_object_is_type(v, json_type_string)) {
                control_invalid(c, key);
                return -EINVAL;
        }
        *ret = json_object_get_string(v);
        return 1;
}

int parameter_int(ControlClient *c, json_object *p, const char *key, int64_t min, int64_t max, int64_t *ret) {
        json_object *v;

        if (!parameter_get(p, key, &v))
                return 0;
        int64_t n = json_object_get_int64(v);
        if (!json_object_is_type(v, json_type_int) || n < min || n > max) {
                control_invalid(c, key);
                return -EINVAL;
        }
        *ret = n;
        return 1;
}

int parameter_job(ControlClient *c, json_object *p, const char *key, uint64_t *ret) {
        const char *text = NULL;
        int r = parameter_text(c, p, key, &text);

        if (r < 0)
                return r;
        if (r == 0)
                control_invalid(c, key);
        else if (job_id_parse(text, ret) >= 0)
                return 0;
        else
                control_no_such_job(c, text);
        return -EINVAL;
}
