/* vload.c: the program: options, connecting all ports, then commands from standard input until `quit` or its end. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "front_end.h"
#include "null_switch.h"
#include "vhost_user.h"

enum { CONNECT_TRIES = 500, CONNECT_PAUSE_NS = 10000000 };

struct endpoint {
    const char *path;
    bool listens;
    int listener;
};

struct arguments {
    struct load_options options;
    struct load_null null;
    bool loop;
    uint32_t n;
    struct endpoint at[LOAD_PORTS];
};

static const struct option options[] = {
    {"core", required_argument, NULL, 'c'},
    {"socket", required_argument, NULL, 's'},
    {"listen", required_argument, NULL, 'l'},
    {"ring", required_argument, NULL, 'r'},
    {"packed", no_argument, NULL, 'p'},
    {"mergeable", required_argument, NULL, 'm'},
    {"tso", no_argument, NULL, 't'},
    {"max-frame", required_argument, NULL, 'f'},
    {"rx-buffer", required_argument, NULL, 'b'},
    {"pieces", required_argument, NULL, 'i'},
    {"no-in-order", no_argument, NULL, 'o'},
    {"no-huge", no_argument, NULL, 'h'},
    {"loop", no_argument, NULL, 'L'},
    {"null", no_argument, NULL, 'N'},
    {"drop", required_argument, NULL, 'D'},
    {"corrupt", required_argument, NULL, 'C'},
    {"swap", required_argument, NULL, 'S'},
    {NULL, 0, NULL, 0},
};

static bool number(const char *text, uint64_t least, uint64_t most, uint32_t *to)
{
    uint64_t value;
    if (!load_read_number(text, most, &value) || value < least)
        return false;
    *to = (uint32_t)value;
    return true;
}

static bool take_option(struct arguments *a, int option, const char *text)
{
    struct load_options *o = &a->options;
    switch (option) {
    case 'c':
        return number(text, 0, 1023, &o->core);
    case 's':
    case 'l':
        if (a->n == LOAD_PORTS)
            return false;
        a->at[a->n++] = (struct endpoint){.path = text, .listens = option == 'l'};
        return true;
    case 'r':
        return number(text, 64, 32768, &o->ring) && (o->ring & (o->ring - 1)) == 0;
    case 'i':
        return number(text, 1, 64, &o->pieces) && (o->pieces & (o->pieces - 1)) == 0;
    case 'f':
        return number(text, 64, LOAD_MAX_FRAME, &o->max_frame);
    case 'b':
        return number(text, 64, LOAD_MAX_FRAME, &o->rx_buffer);
    case 'm':
        o->mergeable = strcmp(text, "on") == 0;
        return o->mergeable || strcmp(text, "off") == 0;
    case 'D':
        return number(text, 1, UINT32_MAX, &a->null.drop);
    case 'C':
        return number(text, 1, UINT32_MAX, &a->null.corrupt);
    case 'S':
        return number(text, 2, UINT32_MAX, &a->null.swap);
    default:
        break;
    }
    o->packed |= option == 'p';
    o->tso |= option == 't';
    o->in_order &= option != 'o';
    o->huge &= option != 'h';
    a->loop |= option == 'L';
    a->null.blind |= option == 'N';
    return option != '?';
}

static const char *read_arguments(struct arguments *a, int argc, char **argv)
{
    a->options = (struct load_options){
        .ring = 1024, .max_frame = 2048, .mergeable = true, .in_order = true, .huge = true};
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
        if (!take_option(a, option, optarg))
            return argv[optind - 1];
    if (optind < argc)
        return argv[optind];
    if (a->options.pieces == 0)
        a->options.pieces = a->options.tso ? 16 : 1;
    if (a->options.rx_buffer == 0)
        a->options.rx_buffer =
            a->options.mergeable || a->options.max_frame < 2048 ? 2048 : a->options.max_frame;
    return a->n == 0 ? "--socket or --listen is needed" : NULL;
}

static int attach(const struct endpoint *at)
{
    if (at->listens)
        return accept4(at->listener, NULL, NULL, SOCK_CLOEXEC);
    for (int i = 0; i < CONNECT_TRIES; i++) {
        int fd = vu_connect(at->path);
        if (fd >= 0 || (errno != ENOENT && errno != ECONNREFUSED && errno != EAGAIN))
            return fd;
        struct timespec pause = {.tv_nsec = CONNECT_PAUSE_NS};
        nanosleep(&pause, NULL);
    }
    return -1;
}

/* All sockets are there before the first port comes up: a switch that connects waits a second after each failure. */
static int listen_all(struct arguments *a)
{
    for (uint32_t i = 0; !a->loop && i < a->n; i++) {
        if (a->at[i].listens && (a->at[i].listener = vu_listen(a->at[i].path)) < 0) {
            load_refuse("%s: %s", a->at[i].path, strerror(errno));
            return -1;
        }
    }
    return 0;
}

static int open_ports(struct load *g, const struct arguments *a)
{
    g->port = aligned_alloc(64, (a->n * sizeof *g->port + 63) / 64 * 64);
    g->gather = malloc(g->gather_bytes = 2 * LOAD_MAX_FRAME);
    if (g->port == NULL || g->gather == NULL)
        return -1;
    memset(g->port, 0, a->n * sizeof *g->port);
    for (uint32_t i = 0; i < a->n; i++) {
        const char *why = strerror(errno);
        struct load_port *p = &g->port[i];
        if ((p->socket = attach(&a->at[i])) < 0) {
            load_refuse("%s: %s", a->at[i].path, strerror(errno));
            return -1;
        }
        if (load_port_open(p, &a->options, &why) != 0) {
            load_refuse("%s: %s", a->at[i].path, why);
            return -1;
        }
        g->ports++;
    }
    return 0;
}

static void serve(struct load *g)
{
    char *line = NULL;
    size_t room = 0;
    bool more = true;
    printf("{\"ok\": true, \"ports\": %u, \"packed\": %s, \"in_order\": %s, \"features\": \"%#llx\"}\n",
           g->ports, g->port[0].tx.packed ? "true" : "false", g->port[0].tx.in_order ? "true" : "false",
           (unsigned long long)g->port[0].features);
    fflush(stdout);
    while (more && getline(&line, &room, stdin) > 0)
        more = load_command(g, line);
    free(line);
}

int main(int argc, char **argv)
{
    static struct arguments a;
    static struct load g;
    const char *wrong = read_arguments(&a, argc, argv);
    if (wrong != NULL) {
        load_refuse("%s: wrong option; see tests/bench/load/README.md", wrong);
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    if (a.loop) {
        const char *paths[LOAD_PORTS];
        for (uint32_t i = 0; i < a.n; i++)
            paths[i] = a.at[i].path;
        return load_null_run(&a.null, a.options.core, paths, a.n);
    }
    load_ticks_per_second();
    if (listen_all(&a) != 0 || open_ports(&g, &a) != 0)
        return 1;
    int error = load_worker_start(&g, a.options.core);
    if (error != 0) {
        load_refuse("core %u: %s", a.options.core, strerror(error));
        return 1;
    }
    serve(&g);
    load_worker_end(&g);
    for (uint32_t i = 0; i < g.ports; i++)
        load_port_close(&g.port[i]);
    return 0;
}
