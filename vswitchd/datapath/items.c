/* items.c: see items.h. */
#include "items.h"

#include <errno.h>
#include <stdlib.h>

#include "qsbr.h"

static uint32_t place_of(const struct vs_item_map *m, uint32_t id)
{
    uint32_t low = 0, high = m->n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (m->item[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct vs_item *vs_items_find(const struct vs_item_map *m, uint32_t id)
{
    uint32_t at = place_of(m, id);
    return at < m->n && m->item[at]->id == id ? m->item[at] : NULL;
}

struct vs_item_map *vs_items_new(void)
{
    return calloc(1, sizeof(struct vs_item_map));
}

const struct vs_item_map *vs_items_newest(const struct vs_item_stage *s, const struct vs_item_map *shown)
{
    return s->map != NULL ? s->map : shown;
}

/* A staged map with room for one more. */
static int make_room(struct vs_item_stage *s, const struct vs_item_map *shown)
{
    const struct vs_item_map *from = vs_items_newest(s, shown);
    if (s->map != NULL && s->map->n < s->map->room)
        return 0;
    uint32_t room = from->n + from->n / 2 + 8;
    struct vs_item_map *m = malloc(sizeof *m + room * sizeof(struct vs_item *));
    if (m == NULL)
        return -ENOMEM;
    memcpy(m->item, from->item, from->n * sizeof from->item[0]);
    m->n = from->n;
    m->room = room;
    free(s->map);
    s->map = m;
    return 0;
}

/* It leaves the staged map. */
static void leave(struct vs_item_stage *s, struct vs_item *item)
{
    if (!item->shown) {
        item->free(item);
        return;
    }
    item->next = s->gone;
    s->gone = item;
}

int vs_items_set(struct vs_item_stage *s, const struct vs_item_map *shown, struct vs_item *item)
{
    if (make_room(s, shown) != 0)
        return -ENOMEM;
    uint32_t at = place_of(s->map, item->id);
    if (at < s->map->n && s->map->item[at]->id == item->id) {
        leave(s, s->map->item[at]);
    } else {
        memmove(&s->map->item[at + 1], &s->map->item[at], (s->map->n - at) * sizeof s->map->item[0]);
        s->map->n++;
    }
    s->map->item[at] = item;
    return 0;
}

int vs_items_remove(struct vs_item_stage *s, const struct vs_item_map *shown, uint32_t id)
{
    if (vs_items_find(vs_items_newest(s, shown), id) == NULL)
        return 0;
    if (make_room(s, shown) != 0)
        return -ENOMEM;
    uint32_t at = place_of(s->map, id);
    leave(s, s->map->item[at]);
    s->map->n--;
    memmove(&s->map->item[at], &s->map->item[at + 1], (s->map->n - at) * sizeof s->map->item[0]);
    return 0;
}

static void free_item(void *arg)
{
    struct vs_item *item = arg;
    item->free(item);
}

void vs_items_shown(struct vs_item_stage *s, struct vs_item_map *old)
{
    if (s->map == NULL)
        return;
    for (uint32_t i = 0; i < s->map->n; i++)
        s->map->item[i]->shown = true;
    for (struct vs_item *item = s->gone, *next; item != NULL; item = next) {
        next = item->next;
        vs_qsbr_defer(&vs_qsbr, free_item, item);
    }
    vs_qsbr_defer(&vs_qsbr, free, old);
    *s = (struct vs_item_stage){0};
}

void vs_items_rollback(struct vs_item_stage *s)
{
    if (s->map != NULL)
        for (uint32_t i = 0; i < s->map->n; i++)
            if (!s->map->item[i]->shown)
                s->map->item[i]->free(s->map->item[i]);
    free(s->map);
    *s = (struct vs_item_stage){0};
}

void vs_items_destroy(struct vs_item_map *m)
{
    for (uint32_t i = 0; i < m->n; i++)
        m->item[i]->free(m->item[i]);
    free(m);
}
