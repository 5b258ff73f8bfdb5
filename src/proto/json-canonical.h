/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One spelling for all JSON texts that say the same: what two requests are compared by. */

#include "proto/json-scan.h"

/* Appends the canonical form of a text to `ret`: no blanks, members in the order of their keys' bytes, strings with the fewest escapes.
 * Numbers stay as they are spelled: to many a program 1 and 1.0 are different things. Of several members with one key all stay, in
 * their order. Returns 0, -EBADMSG where it is no JSON, -E2BIG where it is nested deeper than JSON_DEPTH_MAX, -ENOMEM; after an error
 * what was appended means nothing. */
int json_canonical(const char *s, size_t size, JsonBuffer *ret);
