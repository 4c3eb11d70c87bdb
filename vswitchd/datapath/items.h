/* items.h: numbered objects that packets look up when actions run: groups, meters. Internal.
 *
 * How it works: an immutable map, sorted by number, hangs on the bridge's view. Changes go to a staged copy of it and are shown
 * by the next view, together with rules, so that a bundle appears at once. What is replaced or removed waits in `gone` until
 * that view is out, then for a grace period.
 *
 * Thread safety: vs_items_find from any core, on the map of its view; all else: control thread.
 */
#ifndef VS_ITEMS_H
#define VS_ITEMS_H

#include "base.h"

struct vs_item { /* first member of what is numbered */
    uint32_t id;
    bool shown;                     /* stands in the map of a published view */
    struct vs_item *next;           /* in `gone` */
    void (*free)(struct vs_item *); /* after the grace period, control thread */
};

struct vs_item_map {
    uint32_t n, room;
    struct vs_item *item[];
};

struct vs_item_stage {
    struct vs_item_map *map; /* NULL: no change */
    struct vs_item *gone;    /* shown ones that the staged map does not have */
};

struct vs_item *vs_items_find(const struct vs_item_map *m, uint32_t id);
/* The map as it will be after the commit. */
const struct vs_item_map *vs_items_newest(const struct vs_item_stage *s, const struct vs_item_map *shown);
/* Add, or replace the one of that number. 0, or -ENOMEM: nothing changed, the item is still the caller's. */
int vs_items_set(struct vs_item_stage *s, const struct vs_item_map *shown, struct vs_item *item);
/* 0 (also when there is none) or -ENOMEM. */
int vs_items_remove(struct vs_item_stage *s, const struct vs_item_map *shown, uint32_t id);
/* The view with the staged map, which takes it over, is published; `old` is the map of the view before. */
void vs_items_shown(struct vs_item_stage *s, struct vs_item_map *old);
/* Forget what is staged. */
void vs_items_rollback(struct vs_item_stage *s);
/* Free a map and all in it; no core reads it any more. */
void vs_items_destroy(struct vs_item_map *m);
struct vs_item_map *vs_items_new(void); /* empty; NULL: no memory */

#endif
