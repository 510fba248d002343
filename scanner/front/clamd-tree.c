/* SPDX-License-Identifier: GPL-2.0-only */
#include "clamd-tree.h"

#include <errno.h>

#include "clamd-file.h"

struct clamd_tree {
    struct clamd_services *services;
    char *path;
    struct clamd_tree_options options;
    const struct clamd_tree_ops *ops;
    void *owner;
    struct step *step; /* NULL while a thread has it, or after the last one */
    struct offload_task *task;
    gboolean over;     /* there are no more files, or none are wanted */
    GHashTable *items; /* struct clamd_item * -> its path */
    gboolean unclean;
};

/* The walk and what it found last; the thread's while it runs. */
struct step {
    struct clamd_walk *walk;
    struct clamd_entry entry;
};

static void
step_free(void *p)
{
    struct step *step = p;
    if (step != NULL) {
        clamd_entry_clear(&step->entry);
        clamd_walk_free(step->walk);
        g_free(step);
    }
}

static int
step_work(void *p)
{
    struct step *step = p;
    clamd_entry_clear(&step->entry);
    clamd_walk_next(step->walk, &step->entry);
    return 0;
}

static void on_step(void *owner, void *data, int rc);

/* Goes on, or comes to the end; TREE may be gone afterwards. */
static void
advance(struct clamd_tree *tree)
{
    guint under_way = g_hash_table_size(tree->items);
    if (tree->over && tree->task == NULL && under_way == 0) {
        tree->ops->ended(tree->owner, !tree->unclean);
    } else if (!tree->over && tree->task == NULL && under_way < tree->options.parallel &&
               tree->ops->takes(tree->owner)) {
        tree->task = offload_start(tree->services->offload, step_work, g_steal_pointer(&tree->step),
                                   step_free, on_step, tree);
    }
}

static void
result(struct clamd_tree *tree, const char *path, const struct clamd_verdict *verdict)
{
    if (verdict->verdict == VERDICT_CLEAN) {
        return;
    }
    tree->unclean = TRUE;
    if (tree->options.stop && verdict->verdict != VERDICT_ERROR) {
        tree->over = TRUE;
    }
    tree->ops->result(tree->owner, path, verdict);
}

static void
error(struct clamd_tree *tree, const char *path, const char *text)
{
    struct clamd_verdict verdict;
    clamd_verdict_error(text, &verdict);
    result(tree, path, &verdict);
    clamd_verdict_clear(&verdict);
}

static void
on_item(void *owner, struct clamd_item *item, struct clamd_verdict *verdict)
{
    struct clamd_tree *tree = owner;
    result(tree, g_hash_table_lookup(tree->items, item), verdict);
    clamd_verdict_clear(verdict);
    g_hash_table_remove(tree->items, item);
    advance(tree);
}

static void
entry_take(struct clamd_tree *tree, struct clamd_entry *entry)
{
    if (entry->kind == CLAMD_ENTRY_FILE && !tree->over) {
        struct clamd_item *item = clamd_item_start(tree->services, entry->fd, on_item, tree);
        entry->fd = -1;
        g_hash_table_insert(tree->items, item, g_strdup(entry->path));
    } else if (entry->kind == CLAMD_ENTRY_ERROR) {
        error(tree, entry->path, entry->error);
    } else if (entry->kind == CLAMD_ENTRY_END) {
        tree->over = TRUE;
    }
}

static void
on_step(void *owner, void *data, int rc)
{
    struct clamd_tree *tree = owner;
    tree->task = NULL;
    tree->step = data;
    if (rc < 0) {
        error(tree, tree->path,
              rc == -ETIMEDOUT ? "It could not be read in time."
                               : "Too many files cannot be read now.");
        tree->over = TRUE;
    } else {
        entry_take(tree, &tree->step->entry);
    }
    advance(tree);
}

struct clamd_tree *
clamd_tree_start(struct clamd_services *services, const char *path,
                 const struct clamd_tree_options *options, const struct clamd_tree_ops *ops,
                 void *owner)
{
    struct clamd_tree *tree = g_new0(struct clamd_tree, 1);
    tree->services = services;
    tree->path = g_strdup(path);
    tree->options = *options;
    tree->ops = ops;
    tree->owner = owner;
    tree->items = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    tree->step = g_new0(struct step, 1);
    tree->step->entry.fd = -1;
    tree->step->walk = clamd_walk_new(services->settings->clamd_paths, path);
    advance(tree);
    return tree;
}

void
clamd_tree_free(struct clamd_tree *tree)
{
    if (tree == NULL) {
        return;
    }
    GHashTableIter iter;
    void *item;
    g_hash_table_iter_init(&iter, tree->items);
    while (g_hash_table_iter_next(&iter, &item, NULL)) {
        clamd_item_cancel(item);
    }
    g_hash_table_unref(tree->items);
    offload_cancel(tree->task);
    step_free(tree->step);
    g_free(tree->path);
    g_free(tree);
}

void
clamd_tree_continue(struct clamd_tree *tree)
{
    if (!tree->over && tree->task == NULL) {
        advance(tree);
    }
}
