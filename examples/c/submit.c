/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A client: submit POOL TEXT, waits, prints the result. cc -o submit submit.c $(pkg-config --cflags --libs libflow) */

#include <err.h>
#include <flow/client.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char *argv[]) {
        FlowClient *client;
        FlowResult result;
        char *why;

        if (argc != 3)
                errx(2, "usage: submit POOL TEXT");
        if (flow_client_open(NULL, &client, &why) < 0)
                errx(69, "%s", why);
        if (flow_run(client, &(FlowRequest) { .pool = argv[1], .data = argv[2], .size = strlen(argv[2]) }, &result) < 0)
                errx(69, "%s", flow_client_error(client));
        if (result.status != FLOW_COMPLETED)
                errx(1, "%s: %s", flow_status_to_string(result.status), result.error);
        printf("%.*s\n", (int) result.size, (const char *) result.data);
        flow_result_clear(&result);
        flow_client_close(client);
        return 0;
}
