/* command.h: the line commands of the generator, each answered by one line of JSON; see README.md for the list.
 *
 * Thread safety: the control thread.
 */
#ifndef LOAD_COMMAND_H
#define LOAD_COMMAND_H

#include "worker.h"

/* Words of a command line: `name a b key=value ...`. */
struct load_words {
    char *plain[8];
    char *key[32];
    char *value[32];
    bool used[32];
    unsigned n_plain, n_keys;
};

/* Carry out one line and print the answer; false after `quit`. */
bool load_command(struct load *g, char *line);
/* Print {"ok": false, "error": ...}. */
void load_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Split a line in place; -1 when it has too many words. */
int load_words_split(struct load_words *w, char *line);
/* The value of a key, NULL when it is not given; marks it as known. */
const char *load_words_get(struct load_words *w, const char *key);
/* A key that nobody asked for, or NULL. */
const char *load_words_unknown(const struct load_words *w);
/* Numbers and addresses; false when the text is none (or there is none). */
bool load_read_number(const char *text, uint64_t most, uint64_t *to);
bool load_read_real(const char *text, double *to);
bool load_read_ip(const char *text, uint32_t *to);
bool load_read_mac(const char *text, uint8_t to[6]);

/* Read the words of `traffic`; NULL or what is wrong. traffic.c */
const char *load_read_traffic(struct load *g, struct load_words *w, struct load_stream_spec *spec);
/* Read frames of a pcap file, or lines of hex digits; NULL and *why when it cannot. replay.c */
struct load_frame *load_read_frames(const char *path, uint32_t longest, uint32_t *count, const char **why);

/* What stood where at one moment. */
struct load_snapshot {
    double seconds; /* monotonic */
    uint64_t ticks;
    struct load_turns turns;
    struct load_counts counts[LOAD_STREAMS];
    struct load_histogram *histogram[LOAD_STREAMS]; /* NULL: no time stamps */
    uint64_t foreign, kicks, interrupts;
};

/* Copy all that is counted. With `reset` histograms begin anew, else they are copied. Run by the worker. report.c */
struct load_snap_request {
    struct load_snapshot *to;
    bool reset;
};
void load_snap(struct load *g, void *request);
void load_snapshot_free(struct load_snapshot *s);
double load_ticks_per_second(void);
/* Print what happened between two snapshots. `final`: all came back, so what was not received is lost. */
void load_report(const struct load *g, const struct load_snapshot *from, const struct load_snapshot *to,
                 bool final);

#endif
