/* SPDX-License-Identifier: GPL-2.0-only */
#include "envelope.h"

#include <stddef.h>
#include <string.h>

/* The texts of an envelope, by the name that they have in JSON. */
static const struct field {
    const char *name;
    size_t offset;
} fields[] = {
    {"queue_id", offsetof(struct envelope, queue_id)},
    {"sender", offsetof(struct envelope, sender)},
    {"client_name", offsetof(struct envelope, client_name)},
    {"client_addr", offsetof(struct envelope, client_addr)},
    {"helo", offsetof(struct envelope, helo)},
    {"auth_user", offsetof(struct envelope, auth_user)},
    {"message_id", offsetof(struct envelope, message_id)},
    {"subject", offsetof(struct envelope, subject)},
};
#define PARAMETERS "parameters"
#define RECIPIENT_PARAMETERS "recipient_parameters"

static const char *const direction_names[] = {
    [DIRECTION_INBOUND] = "inbound",
    [DIRECTION_SUBMISSION] = "submission",
};

const char *
direction_name(enum direction direction)
{
    return direction_names[direction];
}

static gboolean
direction_from_json(json_t *json, enum direction *ret)
{
    const char *name = json_string_value(json);
    for (size_t i = 0; name != NULL && i < G_N_ELEMENTS(direction_names); i++) {
        if (strcmp(name, direction_names[i]) == 0) {
            *ret = (enum direction)i;
            return TRUE;
        }
    }
    return json == NULL;
}

static char **
field_of(struct envelope *envelope, const struct field *field)
{
    return (char **)((char *)envelope + field->offset);
}

struct envelope *
envelope_new(void)
{
    struct envelope *envelope = g_new0(struct envelope, 1);
    envelope->recipients = g_ptr_array_new_with_free_func(g_free);
    envelope->recipient_parameters = g_ptr_array_new_with_free_func(g_free);
    return envelope;
}

void
envelope_free(struct envelope *envelope)
{
    if (envelope == NULL) {
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
        g_free(*field_of(envelope, &fields[i]));
    }
    g_ptr_array_unref(envelope->recipients);
    g_ptr_array_unref(envelope->recipient_parameters);
    g_free(envelope->parameters);
    g_free(envelope);
}

void
envelope_add_recipient(struct envelope *envelope, char *recipient, char *parameters)
{
    if (parameters != NULL) {
        /* As long as RECIPIENTS; what is between is NULL. */
        g_ptr_array_set_size(envelope->recipient_parameters, (gint)envelope->recipients->len);
        g_ptr_array_add(envelope->recipient_parameters, parameters);
    }
    g_ptr_array_add(envelope->recipients, recipient);
}

const char *
envelope_recipient_parameters(const struct envelope *envelope, guint number)
{
    return number < envelope->recipient_parameters->len
               ? g_ptr_array_index(envelope->recipient_parameters, number)
               : NULL;
}

static json_t *
text_to_json(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    return json_string(valid);
}

json_t *
envelope_to_json(const struct envelope *envelope)
{
    json_t *object = json_object();
    json_t *recipients = json_array();
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
        const char *text = *(char *const *)((const char *)envelope + fields[i].offset);
        if (text != NULL) {
            json_object_set_new(object, fields[i].name, text_to_json(text));
        }
    }
    for (guint i = 0; i < envelope->recipients->len; i++) {
        json_array_append_new(recipients, text_to_json(g_ptr_array_index(envelope->recipients, i)));
    }
    json_object_set_new(object, "recipients", recipients);
    json_object_set_new(object, "direction", json_string(direction_name(envelope->direction)));
    return object;
}

void
envelope_parameters_to_json(const struct envelope *envelope, json_t *object)
{
    if (envelope->parameters != NULL) {
        json_object_set_new(object, PARAMETERS, text_to_json(envelope->parameters));
    }
    if (envelope->recipient_parameters->len == 0) {
        return;
    }
    json_t *array = json_array();
    for (guint i = 0; i < envelope->recipients->len; i++) {
        const char *text = envelope_recipient_parameters(envelope, i);
        json_array_append_new(array, text == NULL ? json_null() : text_to_json(text));
    }
    json_object_set_new(object, RECIPIENT_PARAMETERS, array);
}

/* Whatever is no text counts as none: a file without them is a whole envelope too. */
static void
parameters_from_json(json_t *object, struct envelope *envelope)
{
    json_t *array = json_object_get(object, RECIPIENT_PARAMETERS);
    envelope->parameters = g_strdup(json_string_value(json_object_get(object, PARAMETERS)));
    for (guint i = 0; i < envelope->recipients->len && json_array_size(array) > 0; i++) {
        const char *text = json_string_value(json_array_get(array, i));
        g_ptr_array_add(envelope->recipient_parameters, g_strdup(text));
    }
}

/* Absent and null are fine; anything else must be a text. */
static gboolean
field_from_json(json_t *object, const struct field *field, struct envelope *envelope)
{
    json_t *value = json_object_get(object, field->name);
    if (value == NULL || json_is_null(value)) {
        return TRUE;
    }
    *field_of(envelope, field) = g_strdup(json_string_value(value));
    return json_is_string(value);
}

struct envelope *
envelope_from_json(json_t *json)
{
    g_autoptr(envelope_t) envelope = envelope_new();
    size_t i;
    json_t *item;
    json_t *recipients = json_object_get(json, "recipients");
    for (i = 0; i < G_N_ELEMENTS(fields); i++) {
        if (!field_from_json(json, &fields[i], envelope)) {
            return NULL;
        }
    }
    if (envelope->sender == NULL || !json_is_array(recipients) ||
        !direction_from_json(json_object_get(json, "direction"), &envelope->direction)) {
        return NULL;
    }
    json_array_foreach(recipients, i, item)
    {
        if (!json_is_string(item)) {
            return NULL;
        }
        g_ptr_array_add(envelope->recipients, g_strdup(json_string_value(item)));
    }
    parameters_from_json(json, envelope);
    return g_steal_pointer(&envelope);
}
