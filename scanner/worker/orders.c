/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "orders.h"

#include <stddef.h>
#include <string.h>

#include "protocol.h"

/* The numbers, once: name in the packet and in struct settings, field in struct orders. */
#define NUMBERS(X)    \
    X(scan_size)      \
    X(scan_file_size) \
    X(scan_recursion) \
    X(scan_files)     \
    X(scan_timeout)   \
    X(message_size)   \
    X(worker_scans)   \
    X(worker_age)

static const struct {
    const char *name;
    size_t offset;
} numbers[] = {
#define NUMBER(field) {#field, offsetof(struct orders, field)},
    NUMBERS(NUMBER)
#undef NUMBER
};

struct orders *
orders_new(const struct settings *settings, const char *generation, bool one_user)
{
    struct orders *orders = g_new0(struct orders, 1);
    orders->generation = g_strdup(generation != NULL ? generation : "builtin");
    orders->builtin = generation == NULL;
    orders->one_user = one_user;
#define COPY(field) orders->field = settings->field;
    NUMBERS(COPY)
#undef COPY
    return orders;
}

void
orders_free(struct orders *orders)
{
    if (orders != NULL) {
        g_free(orders->generation);
        g_free(orders);
    }
}

json_t *
orders_to_json(const struct orders *orders)
{
    json_t *json = json_pack("{s:s, s:s, s:b, s:b, s:b}", "op", "start", "generation",
                             orders->generation, "builtin", orders->builtin, "one_user",
                             orders->one_user, "beside", orders->beside);
    protocol_say(json);
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        const guint64 *field = (const void *)((const char *)orders + numbers[i].offset);
        json_object_set_new(json, numbers[i].name, json_integer((json_int_t)*field));
    }
    return json;
}

struct orders *
orders_from_json(json_t *json)
{
    const char *op;
    const char *generation;
    int builtin;
    int one_user;
    int beside = 0;
    if (json_unpack(json, "{s:s, s:s, s:b, s:b, s?b}", "op", &op, "generation", &generation,
                    "builtin", &builtin, "one_user", &one_user, "beside", &beside) < 0 ||
        strcmp(op, "start") != 0) {
        return NULL;
    }
    g_autoptr(orders_t) orders = g_new0(struct orders, 1);
    orders->generation = g_strdup(generation);
    orders->builtin = builtin;
    orders->one_user = one_user;
    orders->beside = beside;
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        const json_t *number = json_object_get(json, numbers[i].name);
        if (!json_is_integer(number) || json_integer_value(number) <= 0) {
            return NULL;
        }
        guint64 *field = (void *)((char *)orders + numbers[i].offset);
        *field = (guint64)json_integer_value(number);
    }
    return g_steal_pointer(&orders);
}

guint64
orders_tmp_size(const struct orders *orders)
{
    return orders->scan_size + orders->scan_file_size + (16 << 20);
}

guint64
orders_memory(const struct orders *orders)
{
    return (1ULL << 30) + 2 * orders->scan_size + 5 * orders->message_size;
}

guint64
orders_scan_ms(const struct orders *orders)
{
    return orders->scan_timeout * 850;
}
