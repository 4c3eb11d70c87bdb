/* traffic.c: the words of `traffic`, and the file of tuples; see command.h. */
#include <stdio.h>
#include <stdlib.h>

#include "command.h"

static bool read_port(const struct load *g, const char *text, bool none, int32_t *to)
{
    uint64_t number;
    if (none && text != NULL && strcmp(text, "-1") == 0) {
        *to = -1;
        return true;
    }
    if (!load_read_number(text, g->ports - 1, &number))
        return false;
    *to = (int32_t)number;
    return true;
}

static bool read_choice(const char *text, const char *const *names, uint8_t *to)
{
    for (uint8_t i = 0; text != NULL && names[i] != NULL; i++) {
        if (strcmp(text, names[i]) == 0) {
            *to = i;
            return true;
        }
    }
    return text == NULL;
}

static bool read_optional(struct load_words *w, const char *key, uint64_t most, uint64_t *to)
{
    const char *text = load_words_get(w, key);
    return text == NULL || load_read_number(text, most, to);
}

/* Lines "src dst sport dport". */
static const char *read_tuples(const char *path, struct load_stream_spec *spec)
{
    FILE *file = fopen(path, "r");
    uint32_t room = 0, n = 0;
    char src[32], dst[32];
    unsigned sport, dport;
    if (file == NULL)
        return "the file of tuples cannot be read";
    while (n < spec->flows && fscanf(file, "%31s %31s %u %u", src, dst, &sport, &dport) == 4) {
        struct load_tuple t = {.sport = __builtin_bswap16((uint16_t)sport),
                               .dport = __builtin_bswap16((uint16_t)dport)};
        if (!load_read_ip(src, &t.src) || !load_read_ip(dst, &t.dst) || (sport | dport) > 0xffff)
            break;
        t.src = __builtin_bswap32(t.src);
        t.dst = __builtin_bswap32(t.dst);
        if (n == room) {
            room = room == 0 ? 1024 : 2 * room;
            struct load_tuple *more = realloc(spec->tuples, room * sizeof t);
            if (more == NULL)
                break;
            spec->tuples = more;
        }
        spec->tuples[n++] = t;
    }
    bool whole = n == spec->flows || fgetc(file) == EOF;
    fclose(file);
    spec->flows = n;
    return n == 0 || !whole ? "the file of tuples must have lines \"src dst sport dport\"" : NULL;
}

static const char *read_addresses(struct load_words *w, struct load_stream_spec *spec)
{
    const char *text;
    uint64_t sport = 1000, dport = 1001, dports = 1, vlan = 0;
    spec->src = 0x0afe0000; /* as testpmd's flowgen */
    spec->dst = 0x0afd0000;
    if ((text = load_words_get(w, "src")) != NULL && !load_read_ip(text, &spec->src))
        return "src must be an IPv4 address";
    if ((text = load_words_get(w, "dst")) != NULL && !load_read_ip(text, &spec->dst))
        return "dst must be an IPv4 address";
    if (!read_optional(w, "sport", 65535, &sport) || !read_optional(w, "dport", 65535, &dport))
        return "sport and dport must be numbers up to 65535";
    if (!read_optional(w, "dports", 65535, &dports) || dports == 0)
        return "dports must be 1 to 65535";
    spec->has_vlan = load_words_get(w, "vlan") != NULL;
    if (!read_optional(w, "vlan", 4095, &vlan))
        return "vlan must be 0 to 4095";
    if ((text = load_words_get(w, "smac")) != NULL && !(spec->has_smac = load_read_mac(text, spec->smac)))
        return "smac must be a MAC address";
    if ((text = load_words_get(w, "dmac")) != NULL && !(spec->has_dmac = load_read_mac(text, spec->dmac)))
        return "dmac must be a MAC address";
    spec->sport = (uint16_t)sport;
    spec->dport = (uint16_t)dport;
    spec->dports = (uint32_t)dports;
    spec->vlan = (uint16_t)vlan;
    return NULL;
}

static const char *read_shape(struct load_words *w, struct load_stream_spec *spec)
{
    static const char *const vary[] = {"dst_ip", "five_tuple", "l2", NULL}, *const dist[] = {"uniform",
                                                                                             "random", "zipf",
                                                                                             NULL};
    static const char *const check[] = {"frame", "ip", "payload", NULL}, *const proto[] = {"udp", "tcp",
                                                                                           NULL};
    static const char *const yes[] = {"off", "on", NULL};
    uint64_t flows = 1, size = 64, base = 0, mss = 1448, count = 0;
    const char *text;
    if (!read_optional(w, "flows", UINT32_MAX, &flows) || !read_optional(w, "base", UINT32_MAX, &base))
        return "flows and base must be numbers";
    if (!read_optional(w, "count", UINT64_MAX - 1, &count))
        return "count must be a number of frames";
    if (!read_optional(w, "size", LOAD_MAX_FRAME, &size) || !read_optional(w, "mss", 65535, &mss))
        return "size must be 64 to 65550, mss at most 65535";
    if (!read_choice(load_words_get(w, "vary"), vary, &spec->vary))
        return "vary must be dst_ip, five_tuple or l2";
    if (!read_choice(load_words_get(w, "dist"), dist, &spec->dist))
        return "dist must be uniform, random or zipf";
    if (!read_choice(load_words_get(w, "check"), check, &spec->check))
        return "check must be frame, ip or payload";
    if (!read_choice(load_words_get(w, "proto"), proto, &spec->tcp))
        return "proto must be udp or tcp";
    if (!read_choice(load_words_get(w, "latency"), yes, &spec->latency) ||
        !read_choice(load_words_get(w, "tso"), yes, &spec->tso))
        return "latency and tso must be on or off";
    spec->zipf = 1;
    if ((text = load_words_get(w, "zipf")) != NULL && !load_read_real(text, &spec->zipf))
        return "zipf must be an exponent, as 1.0";
    spec->flows = (uint32_t)flows;
    spec->base = (uint32_t)base;
    spec->size = (uint32_t)size;
    spec->count = count;
    spec->mss = (uint16_t)mss;
    return NULL;
}

const char *load_read_traffic(struct load *g, struct load_words *w, struct load_stream_spec *spec)
{
    int32_t in = 0, out = 0;
    const char *text, *wrong;
    *spec = (struct load_stream_spec){.in = 0};
    if (w->n_plain != 3 || !read_port(g, w->plain[1], false, &in) || !read_port(g, w->plain[2], true, &out))
        return "usage: traffic IN OUT [key=value...], with numbers of ports (OUT -1: nothing comes back)";
    spec->in = (uint32_t)in;
    spec->out = out;
    if ((wrong = read_addresses(w, spec)) != NULL || (wrong = read_shape(w, spec)) != NULL)
        return wrong;
    if ((text = load_words_get(w, "rate")) != NULL && strcmp(text, "max") != 0 &&
        !load_read_real(text, &spec->pps))
        return "rate must be max or packets per second";
    if ((text = load_words_get(w, "tuples")) != NULL) {
        spec->flows = load_words_get(w, "flows") == NULL ? UINT32_MAX : spec->flows;
        spec->vary = LOAD_TUPLES;
        if ((wrong = read_tuples(text, spec)) != NULL)
            return wrong;
    }
    const struct load_port *p = &g->port[spec->in];
    if (spec->size + LOAD_FRAME_AT > p->tx.stride)
        return "size is more than --max-frame";
    if (spec->tso && !p->tso)
        return "tso needs --tso";
    if (out >= 0 && !g->port[out].mergeable && spec->size + LOAD_NET_HDR > g->port[out].rx.capacity)
        return "frames of this size do not fit: use --rx-buffer, or --mergeable on";
    return NULL;
}
